package cli

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/umiak/umiak/unpack/manifest"
)

func TestSplitLayout(t *testing.T) {
	there := []string{"dir", "a:b", "a", "/x/layout.tar", "dir:odd"}
	for _, c := range []struct{ in, path, name string }{
		{"dir", "dir", ""}, {"dir:v1", "dir", "v1"}, {"dir:docker.io/library/x:v1", "dir", "docker.io/library/x:v1"},
		{"dir@sha256:00", "dir", "sha256:00"}, {"dir:sha256:00", "dir", "sha256:00"}, {"a:b", "a:b", ""}, {"a:b:c", "a:b", "c"}, {"a:c", "a", "c"},
		{"/x/layout.tar:1", "/x/layout.tar", "1"}, {"dir:odd", "dir:odd", ""}, {"none:v1", "none", "v1"}, {"none", "none", ""}, {"", "", ""}, {":", "", ""},
	} {
		path, name := splitLayout(c.in, func(p string) bool { return slices.Contains(there, p) })
		if path != c.path || name != c.name {
			t.Errorf("%q: %q and %q, want %q and %q", c.in, path, name, c.path, c.name)
		}
	}
}

// TestSharedVectors has umiak unpack flatten what is odd or wrong with manifests, compression and
// whiteouts among the shared vectors; the unpack package does all of them.
func TestSharedVectors(t *testing.T) {
	cases, _ := filepath.Glob("../../../shared/unpack-vectors/[mzwah]-*/case.json")
	if len(cases) == 0 {
		t.Skip("needs ../shared: unpack-vectors")
	}
	top := t.TempDir()
	if err := unix.Mount("tmpfs", top, "tmpfs", 0, "size=512m"); err != nil {
		t.Skipf("needs root: mounting a tmpfs: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(top, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	for _, file := range cases {
		dir := filepath.Dir(file)
		t.Run(filepath.Base(dir), func(t *testing.T) { vector(t, dir, filepath.Join(top, filepath.Base(dir))) })
	}
}

func vector(t *testing.T, dir, dest string) {
	var c struct {
		Expect string
		Root   bool
	}
	readJSON(t, filepath.Join(dir, "case.json"), &c)
	code, stdout, stderr := umiak(t, "unpack", "--platform", "linux/amd64", "oci:"+filepath.Join(dir, "layout")+":latest", dest)
	// What is soft is for package unpack to decide; here it must only come to a proper end.
	good := code == 0 && strings.HasPrefix(stdout, "sha256:")
	bad := code == 125 && stdout == "" && strings.HasPrefix(lastError(stderr), "umiak: error: ")
	if good && c.Expect == "reject" || bad && c.Expect == "tree" || !good && !bad {
		t.Fatalf("to be a %s: status %d\n%s%s", c.Expect, code, stdout, stderr)
	}
	if bad {
		if _, err := os.Lstat(dest); !os.IsNotExist(err) {
			t.Errorf("something is left: %v", err)
		}
		return
	}
	if c.Expect == "tree" {
		compareTree(t, filepath.Join(dir, "expected.json"), dest, c.Root)
	}
}

func lastError(stderr string) string {
	if i := strings.Index(stderr, "umiak: error: "); i >= 0 {
		return stderr[i:]
	}
	return ""
}

// umiak runs a command line in this process.
func umiak(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var files [2]*os.File
	for i := range files {
		f, err := os.CreateTemp(t.TempDir(), "")
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		files[i] = f
	}
	app := &App{Args: args, In: os.Stdin, Out: files[0], Err: files[1], LookupEnv: func(string) (string, bool) { return "", false }}
	code = Run(t.Context(), app)
	var text [2]string
	for i, f := range files {
		b, err := os.ReadFile(f.Name())
		if err != nil {
			t.Fatal(err)
		}
		text[i] = string(b)
	}
	return code, text[0], text[1]
}

func readJSON(t *testing.T, name string, into any) {
	t.Helper()
	b, err := os.ReadFile(name)
	if err == nil {
		err = json.Unmarshal(b, into)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// compareTree compares names, types, modes, owners, sizes, contents and targets, as the tree's
// manifest has them.
func compareTree(t *testing.T, expected, dest string, withRoot bool) {
	t.Helper()
	var list []struct {
		Path, Type, Mode, SHA256, Target string
		UID, GID                         uint32
		Size                             int64
		Implied                          bool
	}
	readJSON(t, expected, &list)
	var want []string
	for _, r := range list {
		if r.Path == "." && !withRoot || strings.ContainsFunc(r.Path+r.Target, func(c rune) bool { return c <= ' ' || c > '~' || c == '\\' }) {
			continue
		}
		path := filepath.Join("/", r.Path)
		if r.Implied {
			want = append(want, fmt.Sprintf("%s %s ", path, r.Type))
			continue
		}
		line := fmt.Sprintf("%s %s %s %d:%d ", path, r.Type, r.Mode, r.UID, r.GID)
		switch r.Type {
		case "f":
			line += fmt.Sprintf("* size=%d sha256=%s", r.Size, r.SHA256)
		case "l":
			line += "* target=" + r.Target
		}
		want = append(want, line)
	}
	f, err := os.Open(dest)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var m strings.Builder
	if _, err := manifest.Write(t.Context(), f, &m); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(m.String(), "\n")
	for _, w := range want {
		head, tail, _ := strings.Cut(w, "*")
		if !slices.ContainsFunc(lines, func(l string) bool { return strings.HasPrefix(l, head) && strings.Contains(l, tail) }) {
			t.Errorf("%s is not in\n%s", w, m.String())
		}
	}
	if n := len(list); len(lines)-3 != n { // its first line, its last, and what follows that
		t.Errorf("%d names, want %d", len(lines)-3, n)
	}
}
