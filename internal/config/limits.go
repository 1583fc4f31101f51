package config

// Limits on untrusted configuration. They are far above what a person writes
// and far below what would hurt the machine.
const (
	fileBytesMax     = 1 << 20  // one YAML file
	nodesMax         = 200_000  // nodes of one file with aliases expanded, and of a resolved tree
	depthMax         = 64       // nesting of mappings, lists, defaults lists and interpolations
	filesMax         = 1_000    // files in one composition
	overrideBytesMax = 64 << 10 // one command-line override
	stringBytesMax   = 1 << 20  // one string after interpolation
	resolvedBytesMax = 16 << 20 // all strings made by interpolation together
	sweepJobsMax     = 10_000   // jobs of one sweep
	errorsMax        = 20       // problems reported at once
)
