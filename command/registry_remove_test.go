package command_test

import (
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"

	"agent/command"
)

// Commands come and go while other sessions of the process look at them.
func TestRegistryIsShared(t *testing.T) {
	reg := standard(t)
	var group sync.WaitGroup
	group.Go(func() {
		for range 500 {
			assert.NoError(t, reg.Replace(named("weather", command.EffectNone, "forecast")))
			assert.NoError(t, reg.Remove("weather"))
		}
	})
	for range 2 {
		group.Go(func() {
			for range 500 {
				assert.GreaterOrEqual(t, len(reg.Specs()), len(standardNames))
				reg.Lookup("forecast")
			}
		})
	}
	group.Wait()
}

// standardNames are commands that are always there.
var standardNames = []string{"think", "reader", "writer", "python", "answer"}
