package image

import (
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
)

const hexDigest = "ba067e45a8e2d6ecbc8d18e5a9e4d0d8b2a0d15e4b6a4d1dd70a5d54f22fa7a1"

var accepted = []struct{ in, canonical, familiar string }{
	{"alpine", "docker.io/library/alpine:latest", "alpine:latest"},
	{"alpine:3.20", "docker.io/library/alpine:3.20", "alpine:3.20"},
	{"docker.io/alpine", "docker.io/library/alpine:latest", "alpine:latest"},
	{"index.docker.io/alpine", "docker.io/library/alpine:latest", "alpine:latest"},
	{"docker.io/library/alpine", "docker.io/library/alpine:latest", "alpine:latest"},
	{"library/alpine", "docker.io/library/alpine:latest", "alpine:latest"},
	{"docker.io/library/a/b", "docker.io/library/a/b:latest", "library/a/b:latest"},
	{"docker.io/localhost/x", "docker.io/localhost/x:latest", "docker.io/localhost/x:latest"},
	{"user/app", "docker.io/user/app:latest", "user/app:latest"},
	{"localhost/app", "localhost/app:latest", "localhost/app:latest"},
	{"localhost:5000/app", "localhost:5000/app:latest", "localhost:5000/app:latest"},
	{"127.0.0.1:5000/a-b/c_d/e__f/g.h:V1", "127.0.0.1:5000/a-b/c_d/e__f/g.h:V1", "127.0.0.1:5000/a-b/c_d/e__f/g.h:V1"},
	{"[::1]:5000/app", "[::1]:5000/app:latest", "[::1]:5000/app:latest"},
	{"[2001:DB8::1]/app", "[2001:DB8::1]/app:latest", "[2001:DB8::1]/app:latest"},
	{"ghcr.io/o/r@sha256:" + hexDigest, "ghcr.io/o/r@sha256:" + hexDigest, "ghcr.io/o/r@sha256:" + hexDigest},
	{"alpine:3.20@sha256:" + hexDigest, "docker.io/library/alpine:3.20@sha256:" + hexDigest, "alpine:3.20@sha256:" + hexDigest},
	{"a---b.c/d", "a---b.c/d:latest", "a---b.c/d:latest"},
	{"x.io/a---b", "x.io/a---b:latest", "x.io/a---b:latest"},
	{"alpine:_x", "docker.io/library/alpine:_x", "alpine:_x"},
	{"alpine:" + strings.Repeat("t", 128), "docker.io/library/alpine:" + strings.Repeat("t", 128), "alpine:" + strings.Repeat("t", 128)},
	{"Reg.Example/app", "Reg.Example/app:latest", "Reg.Example/app:latest"},
	{hexDigest[1:], "docker.io/library/" + hexDigest[1:] + ":latest", hexDigest[1:] + ":latest"},
}

var rejected = []struct{ in, why string }{
	{"", "empty"},
	{"Alpine", "lower case"},
	{"FOO/bar", "lower case"},
	{"x.io/A", "lower case"},
	{" alpine", "must be"},
	{"alpine ", "must be"},
	{"alpine:", "nothing follows"},
	{"alpine:.x", "not a tag"},
	{"alpine:-x", "not a tag"},
	{"alpine:a b", "not a tag"},
	{"alpine:ä", "not a tag"},
	{"alpine:" + strings.Repeat("t", 129), "not a tag"},
	{"alpine@", "digest"},
	{"alpine@sha256:abc", "digest"},
	{"alpine@sha256:" + strings.ToUpper(hexDigest), "digest"},
	{"alpine@md5:d41d8cd98f00b204e9800998ecf8427e", "digest"},
	{"alpine@sha256:" + hexDigest + "@sha256:" + hexDigest, "digest"},
	{"@sha256:" + hexDigest, "empty"},
	{"https://x.io/a", "URL"},
	{"docker://alpine", "URL"},
	{hexDigest, "NAME@sha256"},
	{"/alpine", "empty"},
	{"alpine/", "empty"},
	{"a//b", "empty"},
	{"x.io/", "empty"},
	{"../../etc/passwd", "not a registry host"},
	{"x.io/../y", "must be"},
	{"a..b", "must be"},
	{"a___b", "must be"},
	{"a.-b", "must be"},
	{"-a", "must be"},
	{"a-", "must be"},
	{"_a", "must be"},
	{"x.io:/a", "port"},
	{"x.io:0/a", "port"},
	{"x.io:65536/a", "port"},
	{"x.io:80:80/a", "port"},
	{"-x.io/a", "not a registry host"},
	{"x..io/a", "not a registry host"},
	{"x_y.io/a", "not a registry host"},
	{"[::1/a", "not a registry host"},
	{"[fe80::1%eth0]:5000/a", "not a registry host"},
	{"[::1]x/a", "not a registry host"},
	{"user@x.io/a", "digest"},
	{"a\x00b", "must be"},
	{"a\x1b[31m", "must be"},
	{"x.io/" + strings.Repeat("a", 256), "longer"},
	{strings.Repeat("a", 300) + ".io/x", "not a registry host"},
}

func TestParse(t *testing.T) {
	for _, c := range accepted {
		r, err := Parse(c.in)
		if err != nil {
			t.Errorf("Parse(%q): %v", c.in, err)
			continue
		}
		if r.String() != c.canonical || r.Familiar() != c.familiar {
			t.Errorf("Parse(%q) = %s, %s; want %s, %s", c.in, r, r.Familiar(), c.canonical, c.familiar)
		}
	}
	for _, c := range rejected {
		r, err := Parse(c.in)
		if err == nil {
			t.Errorf("Parse(%q) = %s, want an error", c.in, r)
		} else if !strings.Contains(err.Error(), c.why) {
			t.Errorf("Parse(%q): %v, want %q in it", c.in, err, c.why)
		} else if strings.ContainsAny(err.Error(), "\x00\x1b") {
			t.Errorf("Parse(%q): the message has control characters", c.in)
		}
	}
}

// A name in doubt must mean the same here as in the module that asks for it.
func TestParseAgreesWithGGCR(t *testing.T) {
	for _, c := range accepted {
		r, err := Parse(c.in)
		if err != nil {
			t.Fatal(err)
		}
		agree(t, c.in, r)
	}
}

func agree(t *testing.T, in string, r Reference) {
	t.Helper()
	if len(r.Repository) < 2 {
		return // legal in docker's grammar, too short for ggcr's
	}
	want, err := name.ParseReference(in)
	if err != nil {
		t.Fatalf("Parse accepts %q as %s, ggcr says: %v", in, r, err)
	}
	host := r.Registry
	if host == defaultRegistry {
		host = name.DefaultRegistry
	}
	id := r.Tag
	if r.Digest != "" {
		id = r.Digest.String()
	}
	if want.Context().RegistryStr() != host || want.Context().RepositoryStr() != r.Repository || want.Identifier() != id {
		t.Errorf("%q: got %s, ggcr says %s", in, r, want.Name())
	}
}

func FuzzParseReference(f *testing.F) {
	for _, c := range accepted {
		f.Add(c.in)
	}
	for _, c := range rejected {
		f.Add(c.in)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := Parse(s)
		if err != nil {
			if r != (Reference{}) {
				t.Errorf("Parse(%q) returns both %v and an error", s, r)
			}
			return
		}
		if r.Tag == "" && r.Digest == "" || r.Registry == "" || r.Repository == "" {
			t.Errorf("Parse(%q) leaves something out: %+v", s, r)
		}
		for _, again := range []string{r.String(), r.Familiar()} {
			if r2, err := Parse(again); err != nil || r2 != r {
				t.Errorf("Parse(%q) = %+v, but Parse(%q) = %+v, %v", s, r, again, r2, err)
			}
		}
		agree(t, s, r)
	})
}
