package hub_test

import (
	"archive/zip"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

// writeWheel makes a wheel that holds one file.
func writeWheel(t *testing.T, path, member string, data []byte) {
	t.Helper()
	f, err := os.Create(path)
	require.NoError(t, err)
	defer f.Close()
	z := zip.NewWriter(f)
	w, err := z.Create(member)
	require.NoError(t, err)
	_, err = w.Write(data)
	require.NoError(t, err)
	require.NoError(t, z.Close())
}
