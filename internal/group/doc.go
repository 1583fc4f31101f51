// Package group ends a process with all that it started.
package group
