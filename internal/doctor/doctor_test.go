package doctor

import (
	"strings"
	"testing"
)

func TestDoctorNamesWhatASystemLacks(t *testing.T) {
	for goos, want := range map[string]string{
		"linux":   "",
		"darwin":  "memory",
		"freebsd": "memory",
		"windows": "memory processes terminal",
	} {
		var got []string
		for _, f := range examineSystem(goos) {
			got = append(got, f.What)
			if f.Status == "ok" || f.Detail == "" || f.Hint == "" {
				t.Errorf("%s: %+v says not what is missing and what to do", goos, f)
			}
		}
		if s := strings.Join(got, " "); s != want {
			t.Errorf("%s: named %q, expected %q", goos, s, want)
		}
	}
}
