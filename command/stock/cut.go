package stock

import (
	"agent/internal/legible"
)

// clip keeps a name that a model made up from flooding a message.
func clip(s string) string { return legible.Clip(s, nameBytesMax) }

const nameBytesMax = 64 // longest name; more is prose
