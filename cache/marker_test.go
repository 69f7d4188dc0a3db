package cache

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/umiak/umiak/cache/digest"
)

// plant makes files (or, with a slash at the end, directories) in a new directory.
func plant(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		err := os.MkdirAll(filepath.Dir(path), 0o755)
		if strings.HasSuffix(name, "/") {
			err = os.MkdirAll(path, 0o755)
		} else if to, link := strings.CutPrefix(text, "-> "); link && err == nil {
			err = os.Symlink(to, path)
		} else if err == nil {
			err = os.WriteFile(path, []byte(text), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// picture is all that can be seen of a tree, times included.
func picture(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil {
			fmt.Fprintln(&b, path, info.Mode(), info.Size(), info.ModTime())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// A directory that is somebody's, or a later umiak's, stays as it is.
func TestNotACache(t *testing.T) {
	blob := "blobs/sha256/" + digest.FromBytes(nil).Hex()
	for _, c := range []struct {
		about string
		files map[string]string
		want  error
		says  string
	}{
		{"somebody's files", map[string]string{"tmp/a/b": "x", "tmp/" + randomName() + "/b": "x", "tmp/" + randomName(): "x"}, ErrNotACache, `"tmp"`},
		{"an OCI layout", map[string]string{"oci-layout": "{}", "index.json": "{}", blob: ""}, ErrNotACache, `"blobs" is there, and no file "umiak-cache"`},
		{"a cache without marker", map[string]string{"README": readmeText, "tmp/": "", "roots/x/": "", blob: ""}, ErrNotACache, "umiak-cache"},
		{"a hidden file", map[string]string{".x": ""}, ErrNotACache, `".x"`},
		{"another marker", map[string]string{marker: "mine", "tmp/" + randomName() + "/": ""}, ErrNotACache, `"mine"`},
		{"half a marker", map[string]string{marker: "umiak cache, format 1", "tmp/" + randomName() + "/": ""}, ErrNotACache, "format 1"},
		{"format 0", map[string]string{marker: "umiak cache, format 0\n"}, ErrNotACache, "format 0"},
		{"a later format", map[string]string{marker: "umiak cache, format 2\nand more\n", "tmp/" + randomName() + "/": ""}, ErrNewer, "format 2, this umiak knows 1"},
		{"a directory for a marker", map[string]string{marker + "/": ""}, nil, marker},
	} {
		dir := plant(t, c.files)
		before := picture(t, dir)
		for name, open := range map[string]func(string) (*Cache, error){"Open": Open, "OpenExisting": OpenExisting} {
			got, err := open(dir)
			if err == nil {
				got.Close()
			}
			if err == nil || c.want != nil && !errors.Is(err, c.want) || !strings.Contains(err.Error(), dir) || !strings.Contains(err.Error(), c.says) || errors.Is(err, ErrMissing) {
				t.Errorf("%s: %s: %v; want %v that says %s", c.about, name, err, c.want, c.says)
			}
		}
		if after := picture(t, dir); after != before {
			t.Errorf("%s: was\n%s\nis\n%s", c.about, before, after)
		}
	}
}

// Empty directories become caches, and so do those where an umiak died while it
// made one.
func TestBecomesACache(t *testing.T) {
	for about, files := range map[string]map[string]string{
		"empty":               {},
		"a new file system":   {"lost+found/": ""},
		"killed at the start": {marker: ""},
		"killed later":        {marker: "", "tmp/": "", "blobs/": "", "README": "This"},
	} {
		dir := plant(t, files)
		before := picture(t, dir)
		if c, err := OpenExisting(dir); !errors.Is(err, ErrMissing) || !strings.Contains(err.Error(), "no cache at "+dir) {
			t.Errorf("%s: OpenExisting gives %v, %v", about, c, err)
		}
		if after := picture(t, dir); after != before {
			t.Errorf("%s: was\n%s\nis\n%s", about, before, after)
		}
		put(t, openAt(t, dir), []byte("x"))
		if text, err := os.ReadFile(filepath.Join(dir, marker)); err != nil || string(text) != "umiak cache, format 1\n" {
			t.Errorf("%s: the marker has %q, %v", about, text, err)
		}
		if c, err := OpenExisting(dir); err != nil {
			t.Errorf("%s: %v", about, err)
		} else {
			c.Close()
		}
	}
}

func TestOpenExisting(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a")
	for range 2 {
		if _, err := OpenExisting(dir); !errors.Is(err, ErrMissing) {
			t.Errorf("no directory: %v", err)
		}
	}
	c := openAt(t, dir)
	makeRoot(t, c, "r").Close()
	if err := c.SetRef("name", []byte("data")); err != nil {
		t.Fatal(err)
	}
	dead := filepath.Join(dir, "tmp", randomName(), "a")
	if err := errors.Join(os.MkdirAll(dead, 0o700), os.RemoveAll(filepath.Join(dir, "state"))); err != nil {
		t.Fatal(err)
	}
	before := picture(t, dir)
	c, err := OpenExisting(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if refs, err := c.Refs(); err != nil || len(refs) != 1 {
		t.Errorf("references %v, %v", refs, err)
	}
	if err := missing(c.Lease("r")); err != nil {
		t.Error(err)
	}
	if after := picture(t, dir); after != before {
		t.Errorf("was\n%s\nis\n%s", before, after)
	}
	// Adding works as with any other, and cleans up first.
	put(t, c, []byte("x"))
	if _, err := os.Stat(dead); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("not swept: %v", err)
	}
	if err := os.RemoveAll(filepath.Join(dir, "refs")); err != nil {
		t.Fatal(err)
	}
	if refs, err := c.Refs(); err != nil || len(refs) != 0 {
		t.Errorf("no directory of references: %v, %v", refs, err)
	}
}

// Many make the same cache at once, and none takes it for somebody else's.
func TestOpenRaces(t *testing.T) {
	base := t.TempDir()
	if os.Geteuid() == 0 {
		base = onTmpfs(t, "")
	}
	for i := range 50 {
		dir := filepath.Join(base, fmt.Sprint(i))
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				c, err := Open(dir)
				if err != nil {
					t.Error(err)
					return
				}
				defer c.Close()
				if err := c.SetRef("name", nil); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
	}
}

// Links in place of the cache's own directories are not followed by who removes.
func TestLinkedDirectories(t *testing.T) {
	c := open(t)
	treasure := filepath.Join(c.Path(), "state", randomName())
	for _, name := range []string{"tmp", "blobs/sha512", "roots"} {
		path := filepath.Join(c.Path(), name)
		if err := errors.Join(os.RemoveAll(path), os.Symlink(filepath.Join(strings.Repeat("../", strings.Count(name, "/")), "state"), path)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(treasure, 0o700); err != nil {
		t.Fatal(err)
	}
	c.Close()
	c = openAt(t, c.Path())
	if _, err := c.Collect(t.Context(), nothing); err == nil {
		t.Error("collected in spite of the links")
	}
	if _, err := os.Stat(treasure); err != nil {
		t.Error(err)
	}
}
