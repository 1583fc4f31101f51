package setup

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

// A server has a core for requests beside the one that computing holds, also
// where there is no second thread of a core.
func TestCoresForGo(t *testing.T) {
	for _, c := range []struct {
		cores, threads int
		serving        bool
		want           int
	}{
		{8, 4, false, 4}, {8, 4, true, 4}, {2, 2, false, 1}, {2, 2, true, 2}, {8, 8, true, 2}, {1, 1, true, 2}, {4, 16, false, 1}, {4, 16, true, 2},
	} {
		assert.Equal(t, c.want, coresForGo(c.cores, c.threads, c.serving), "%+v", c)
	}
}
