// Package configs holds the stock configuration that every build carries.
// Folders of the user's own are searched before it; see docs/configuration.md.
package configs

import "embed"

// FS has config.yaml, where composition begins, and one folder per group.
//
//go:embed *.yaml */*.yaml
var FS embed.FS
