package image

import "testing"

func TestParsePlatform(t *testing.T) {
	for in, want := range map[string]string{
		"linux/amd64": "linux/amd64", "linux/amd64/v1": "linux/amd64", "linux/amd64/v3": "linux/amd64/v3",
		"linux/x86_64": "linux/amd64", "arm64": "linux/arm64", "linux/arm64/v8": "linux/arm64", "aarch64": "linux/arm64",
		"linux/arm": "linux/arm/v7", "linux/arm/6": "linux/arm/v6", "armhf": "linux/arm/v7", "linux/armel": "linux/arm/v6",
		"LINUX/AMD64": "linux/amd64", "windows/amd64": "windows/amd64", "linux/i386": "linux/386",
	} {
		p, err := ParsePlatform(in)
		if err != nil || p.String() != want {
			t.Errorf("ParsePlatform(%q) = %s, %v; want %s", in, p, err, want)
		}
		if again, err := ParsePlatform(p.String()); err != nil || again != p {
			t.Errorf("ParsePlatform(%q) = %s, %v; not itself", p, again, err)
		}
	}
	for _, in := range []string{"", "linux", "linux/", "/amd64", "a/b/c/d", "linux/amd64/", "linux/am d64", "linux/../x"} {
		if p, err := ParsePlatform(in); err == nil {
			t.Errorf("ParsePlatform(%q) = %s, want an error", in, p)
		}
	}
}

// The order is containerd's platforms.Only.
func TestRank(t *testing.T) {
	for _, c := range []struct {
		want string
		have []string // best first, the last one does not run at all
	}{
		{"linux/amd64", []string{"linux/amd64/v1", "linux/386", "linux/amd64/v2"}},
		{"linux/amd64/v3", []string{"linux/amd64/v3", "linux/amd64/v2", "linux/amd64", "linux/386", "linux/amd64/v4"}},
		{"linux/arm/v7", []string{"linux/arm/v7", "linux/arm/v6", "linux/arm/v5", "linux/arm/v8"}},
		{"linux/arm64", []string{"linux/arm64", "linux/arm/v8", "linux/arm/v7", "linux/arm/v6", "linux/amd64"}},
		{"linux/s390x", []string{"linux/s390x", "linux/amd64"}},
		{"linux/arm/v9", []string{"linux/arm/v9", "linux/arm/v5", "linux/arm64"}},
		{"linux/amd64", []string{"linux/amd64", "windows/amd64"}},
	} {
		want, last := mustPlatform(t, c.want), -1
		for i, h := range c.have {
			r := rank(want, mustPlatform(t, h))
			if i == len(c.have)-1 {
				if r >= 0 {
					t.Errorf("%s runs %s, says rank", want, h)
				}
			} else if r <= last {
				t.Errorf("%s: %s has rank %d, not after %d", want, h, r, last)
			}
			last = r
		}
	}
}

func mustPlatform(t *testing.T, s string) Platform {
	t.Helper()
	p, err := ParsePlatform(s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}
