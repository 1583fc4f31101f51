package stock

import (
	"agent/internal/legible"
)

// clip shortens a name that a model made up, so that it can't flood a message.
func clip(s string) string { return legible.Clip(s, nameBytesMax) }

const nameBytesMax = 64 // longest name; more is prose
