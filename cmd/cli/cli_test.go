package cli

import (
	"os"
	"path/filepath"
	"testing"
)

// Where the cache is: the flag, the variable, and for a plain user a chain of places.
func TestCacheDir(t *testing.T) {
	home, data := t.TempDir(), t.TempDir()
	env := map[string]string{}
	a := &App{LookupEnv: func(k string) (string, bool) { v, ok := env[k]; return v, ok }}
	want := func(what, dir string) {
		t.Helper()
		if got, err := a.cacheDir(); err != nil || got != dir {
			t.Errorf("%s: %q, %v; want %q", what, got, err, dir)
		}
	}
	if os.Geteuid() == 0 {
		want("root", "/var/lib/umiak")
	} else {
		env["HOME"] = home
		want("HOME", filepath.Join(home, ".local/share/umiak"))
		env["XDG_DATA_HOME"] = data
		want("XDG_DATA_HOME", filepath.Join(data, "umiak"))
	}
	env["UMIAK_ROOT"] = "/somewhere"
	want("UMIAK_ROOT", "/somewhere")
	a.root = "/flag"
	want("--root", "/flag")
}

func TestUsable(t *testing.T) {
	dir := t.TempDir()
	open, link := filepath.Join(dir, "open"), filepath.Join(dir, "link")
	if err := os.Mkdir(open, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(open, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{dir: true, dir + "/new/and/deep": true, open: false, link: false} {
		if got := usable(name); got != want {
			t.Errorf("%s: %v", name, got)
		}
	}
	if _, err := os.Stat(dir + "/new"); err == nil {
		t.Error("looking made a directory")
	}
}

func TestSizeTexts(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 999: "999 B", 1000: "1 kB", 1784000: "1.78 MB", 3490290: "3.49 MB", 999999: "1 MB"} {
		if got := sizeText(n); got != want {
			t.Errorf("%d: %q, want %q", n, got, want)
		}
	}
	for n, want := range map[int64]string{100 << 20: "100m", 1 << 30: "1g", 6 << 20: "6m", 1025: "1025"} {
		if got := bytesText(&n); got != want {
			t.Errorf("%d: %q, want %q", n, got, want)
		}
	}
}
