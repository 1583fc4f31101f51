// Package archtest holds no code: its tests read the sources of the whole
// repository and keep the promises that no compiler checks. Which package may
// import which, where native code is reached, that everything exported is
// explained, that no file is left out of every build, that nothing tracked
// names a place on one particular machine, and that every linked module is
// credited in THIRD_PARTY.md.
package archtest
