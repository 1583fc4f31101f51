//go:build linux && !amd64

package sandbox

// System calls that only older architectures have.

func legacyOwnerCalls() []uint32 { return nil }

func legacyModeCalls() []uint32 { return nil }

func legacyModeArguments() []modeCall { return nil }

func legacyOpenCalls() []modeCall { return nil }
