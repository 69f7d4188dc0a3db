package cache

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/umiak/umiak/cache/digest"
)

func TestOpenMakesLayout(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	c := openAt(t, dir)
	wantFiles(t, c)
	for _, name := range []string{".", "tmp", "blobs", "blobs/sha256", "roots", "refs", "locks", "state"} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode() != fs.ModeDir|0o700 {
			t.Errorf("%s: %v, %v; want a directory of mode 0700", name, info.Mode(), err)
		}
	}
	if b, err := os.ReadFile(filepath.Join(dir, "README")); err != nil || !strings.Contains(string(b), "umiak") {
		t.Errorf("README: %q, %v", b, err)
	}
}

func TestOpenRelative(t *testing.T) {
	t.Chdir(t.TempDir())
	c := openAt(t, "cache")
	if !filepath.IsAbs(c.Path()) {
		t.Errorf("Path() = %q", c.Path())
	}
	t.Chdir("/")
	put(t, c, []byte("the current directory doesn't matter"))
}

func TestOpenNamesDirectory(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{file, file + "/beneath", "/proc/cache", "/proc/nothing/there"} {
		if _, err := Open(dir); err == nil || !strings.Contains(err.Error(), dir) {
			t.Errorf("Open(%q): %v", dir, err)
		}
	}
}

// Any of the directories may be removed by hand.
func TestLayoutHeals(t *testing.T) {
	c := open(t)
	for _, name := range []string{"tmp", "blobs", "locks", "roots", "refs"} {
		if err := os.RemoveAll(filepath.Join(c.Path(), name)); err != nil {
			t.Fatal(err)
		}
	}
	d := put(t, c, []byte("x"))
	checkBytes(t, c, d, []byte("x"))
	makeRoot(t, c, "r")
	if err := c.SetRef("name", nil); err != nil {
		t.Error(err)
	}
}

// Collecting waits for nobody; writers wait for the collector.
func TestWriting(t *testing.T) {
	c := open(t)
	one, err := c.Writing(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	two, err := c.Writing(t.Context())
	if err != nil {
		t.Fatalf("writers exclude each other: %v", err)
	}
	one()
	none := func() (Live, error) { return Live{}, nil }
	if _, err := c.Collect(t.Context(), none); !errors.Is(err, ErrBusy) {
		t.Errorf("Collect while writing: %v", err)
	}
	two()
	_, err = c.Collect(t.Context(), func() (Live, error) {
		for name, write := range map[string]func(context.Context) error{
			"Writing": func(ctx context.Context) error { _, err := c.Writing(ctx); return err },
			// These wait too if the caller doesn't say that he is writing.
			"Put":  func(ctx context.Context) error { return c.Put(ctx, digest.FromBytes(nil), 0, bytesOf(nil)) },
			"Root": func(ctx context.Context) error { _, err := c.Root(ctx, "r", noFill); return err },
		} {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
			if err := write(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%s while collecting: %v", name, err)
			}
			cancel()
		}
		return Live{}, nil
	})
	if err != nil {
		t.Error(err)
	}
}

// Leftovers of the dead go, work of the living stays.
func TestSweep(t *testing.T) {
	c := open(t)
	mine, err := c.temp()
	if err != nil {
		t.Fatal(err)
	}
	dead := filepath.Join(c.Path(), "tmp", randomName())
	if err := os.MkdirAll(filepath.Join(dead, "a/b/c"), 0o700); err != nil {
		t.Fatal(err)
	}
	// What we didn't make isn't ours to remove, wherever it lies.
	link, other := "tmp/"+randomName(), []string{"tmp/0", "tmp/dead", "tmp/umiak-", "tmp/umiak-A", "tmp/umiak-cache", "tmp/umiak-zzzzzzzzzzzzzzzzz"}
	for _, name := range other {
		if err := os.Mkdir(filepath.Join(c.Path(), name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("dead", filepath.Join(c.Path(), link)); err != nil {
		t.Fatal(err)
	}
	want := append(other, link, mine.path(""))
	slices.Sort(want)
	// Each opening may only take so long.
	for range 100 {
		if openAt(t, c.Path()); len(files(t, c)) == len(want) {
			break
		}
	}
	wantFiles(t, c, want...)
	if _, err := c.Collect(t.Context(), nothing); err != nil {
		t.Error(err)
	}
	if _, err := mine.remove(); err != nil {
		t.Error(err)
	}
	want = slices.DeleteFunc(want, func(s string) bool { return s == mine.path("") })
	wantFiles(t, c, want...)
}

// A sweeper may take a temporary directory just before its maker locks it.
func TestTempAgainstSweep(t *testing.T) {
	c := open(t)
	stop := make(chan struct{})
	swept := make(chan struct{})
	go func() {
		defer close(swept)
		for {
			select {
			case <-stop:
				return
			default:
				c.sweep(context.Background(), 0)
			}
		}
	}()
	for range 500 {
		tmp, err := c.temp()
		if err != nil {
			t.Fatal(err)
		}
		if err := c.root.WriteFile(tmp.path("x"), nil, 0o600); err != nil {
			t.Fatalf("swept although it's locked: %v", err)
		}
		if _, err := tmp.remove(); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	<-swept
	wantFiles(t, c)
}

// The warm path writes nothing: it works where nothing can be written.
func TestReadOnlyFileSystem(t *testing.T) {
	dir := onTmpfs(t, "")
	c := openAt(t, dir)
	makeRoot(t, c, "r").Close()
	d := put(t, c, []byte("blob"))
	if err := c.SetRef("name", []byte("data")); err != nil {
		t.Fatal(err)
	}
	c.Close()
	if err := syscall.Mount("", dir, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	c = openAt(t, dir)
	if data, err := c.Ref("name"); err != nil || string(data) != "data" {
		t.Errorf("Ref: %q, %v", data, err)
	}
	r, err := c.Lease("r")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	checkBytes(t, c, d, []byte("blob"))
	if err := c.SetRef("name", nil); !errors.Is(err, syscall.EROFS) {
		t.Errorf("SetRef: %v", err)
	}
}

// With the disk full, adding fails with a wrapped ENOSPC and changes nothing;
// removing works.
func TestDiskFull(t *testing.T) {
	c := openAt(t, onTmpfs(t, "size=1m"))
	small := []byte("small")
	d := put(t, c, small)
	makeRoot(t, c, "r").Close()
	if err := c.SetRef("name", []byte("old")); err != nil {
		t.Fatal(err)
	}
	before := files(t, c)

	big := append(bigBlob(), bigBlob()...)
	if err := putErr(t, c, big); !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), c.Path()) {
		t.Errorf("Put: %v, want ENOSPC and the directory's name", err)
	}
	if err := c.SetRef("name", big); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("SetRef: %v", err)
	}
	_, err := c.Root(t.Context(), "s", func(_ context.Context, dir *os.File) error {
		return os.WriteFile(filepath.Join("/proc/self/fd", fdName(dir), "f"), big, 0o600)
	})
	if !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("Root: %v", err)
	}
	wantFiles(t, c, before...)
	if data, err := c.Ref("name"); err != nil || string(data) != "old" {
		t.Errorf("Ref: %q, %v", data, err)
	}
	checkBytes(t, c, d, small)

	// Not a page and not an inode left.
	fill, err := os.Create(filepath.Join(c.Path(), "state/fill"))
	if err != nil {
		t.Fatal(err)
	}
	defer fill.Close()
	for range 1 << 10 { // The file system has 256 of them.
		if _, err = fill.Write(make([]byte, 4096)); err != nil {
			break
		}
	}
	freed, err := c.Collect(t.Context(), func() (Live, error) { return Live{}, nil })
	if err != nil || freed == 0 {
		t.Errorf("Collect on a full disk frees %d: %v", freed, err)
	}
	put(t, c, small)
}

// As a plain user: no right to override modes helps.
func TestUnprivileged(t *testing.T) {
	dir := onTmpfs(t, "mode=0777")
	asUser(t, dir, func() {
		c, err := Open(filepath.Join(dir, "cache"))
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		d := put(t, c, bigBlob())
		checkBytes(t, c, d, bigBlob())
		r, err := c.Root(t.Context(), "r", func(_ context.Context, dir *os.File) error { return fillForbidding(dir) })
		if err != nil {
			t.Error(err)
			return
		}
		r.Close()
		if _, err := c.Collect(t.Context(), func() (Live, error) { return Live{}, nil }); err != nil {
			t.Error(err)
		}
		wantFiles(t, c)
		if _, err := Open(filepath.Join(dir, "not ours")); !errors.Is(err, fs.ErrPermission) {
			t.Errorf("a directory that isn't ours: %v", err)
		}
	})
}
