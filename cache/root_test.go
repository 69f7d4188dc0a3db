package cache

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestRoot(t *testing.T) {
	c := open(t)
	if _, err := c.Lease("r"); !errors.Is(err, ErrMissing) {
		t.Errorf("before: %v", err)
	}
	r := makeRoot(t, c, "r")
	if r.ID() != "r" || r.Path() != filepath.Join(c.Path(), "roots/r") {
		t.Errorf("ID %q, Path %q", r.ID(), r.Path())
	}
	if err := checkSmall(r); err != nil {
		t.Error(err)
	}
	if err := checkSmall(&Root{path: filepath.Join("/proc/self/fd", fdName(r.Dir()))}); err != nil {
		t.Errorf("by Dir: %v", err)
	}
	wantFiles(t, c, "roots/r", "roots/r/plan", "roots/r/rootfs", "roots/r/rootfs/file")
	for range 2 { // The second time by the lease alone.
		again, err := c.Root(t.Context(), "r", noFill)
		if err != nil {
			t.Fatal(err)
		}
		if err := again.Close(); err != nil {
			t.Error(err)
		}
		if err := again.Close(); err != nil {
			t.Errorf("closed twice: %v", err)
		}
	}
}

func TestRootMode(t *testing.T) {
	c := open(t)
	r, err := c.Root(t.Context(), "r", func(_ context.Context, dir *os.File) error { return dir.Chmod(0o755) })
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if info, err := os.Stat(r.Path()); err != nil || info.Mode() != fs.ModeDir|0o700 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

func TestRootIDs(t *testing.T) {
	c := open(t)
	for _, id := range []string{"", ".", "..", "a/b", "../refs", "A", "a_b", "a\x00", strings.Repeat("a", 129)} {
		if _, err := c.Root(t.Context(), id, noFill); err == nil || errors.Is(err, ErrMissing) || strings.Contains(err.Error(), "filled") {
			t.Errorf("Root(%q): %v", id, err)
		}
	}
	makeRoot(t, c, strings.Repeat("a", 128))
	makeRoot(t, c, "v1-0123456789abcdef")
}

func TestRootFillFails(t *testing.T) {
	c := open(t)
	broken := errors.New("bad layer")
	_, err := c.Root(t.Context(), "r", func(_ context.Context, dir *os.File) error {
		return errors.Join(fillSmall(dir), broken)
	})
	if !errors.Is(err, broken) {
		t.Errorf("error %v", err)
	}
	wantFiles(t, c)
	makeRoot(t, c, "r")
}

func TestRootOnceAmongGoroutines(t *testing.T) {
	c := open(t)
	var filled atomic.Int32
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			r, err := c.Root(t.Context(), "r", func(_ context.Context, dir *os.File) error {
				filled.Add(1)
				time.Sleep(20 * time.Millisecond)
				return fillSmall(dir)
			})
			if err != nil {
				t.Error(err)
				return
			}
			defer r.Close()
			if err := checkSmall(r); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := filled.Load(); n != 1 {
		t.Errorf("filled %d times", n)
	}
}

func TestRootOnceAmongProcesses(t *testing.T) {
	c := open(t)
	notes := filepath.Join(t.TempDir(), "notes")
	var wg sync.WaitGroup
	for range 8 {
		cmd := command(t, "root", c.Path(), notes)
		wg.Go(func() {
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
	wg.Wait()
	if n := lines(t, notes); n != 1 {
		t.Errorf("filled %d times", n)
	}
}

func TestRootKilled(t *testing.T) {
	c := open(t)
	kill := hanging(t, "root and hang", c.Path())
	if _, err := c.Lease("r"); !errors.Is(err, ErrMissing) {
		t.Errorf("half a root shows: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := c.Root(ctx, "r", noFill); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("waiting for the living: %v", err)
	}
	kill()
	if len(files(t, c)) == 0 {
		t.Fatal("the test is moot: nothing was left to sweep")
	}
	c = openAt(t, c.Path())
	makeRoot(t, c, "r")
	wantFiles(t, c, "roots/r", "roots/r/plan", "roots/r/rootfs", "roots/r/rootfs/file")
}

// Hundreds of runs lease one root at once.
func TestLeasesAreShared(t *testing.T) {
	c := open(t)
	makeRoot(t, c, "r")
	for range 300 {
		r, err := c.Lease("r")
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
	}
}

func TestLeaseDamaged(t *testing.T) {
	for name, damage := range map[string]func(path string) error{
		"a file":           func(p string) error { return os.WriteFile(p, []byte("x"), 0o600) },
		"a dangling link":  func(p string) error { return os.Symlink("nowhere", p) },
		"a link elsewhere": func(p string) error { return os.Symlink("../state", p) },
	} {
		t.Run(name, func(t *testing.T) {
			c := open(t)
			if err := damage(filepath.Join(c.Path(), "roots/r")); err != nil {
				t.Fatal(err)
			}
			_, err := c.Lease("r")
			wantMissing(t, err, "root r")
			makeRoot(t, c, "r")
			r, err := c.Lease("r")
			if err != nil {
				t.Fatal(err)
			}
			r.Close()
		})
	}
}

func TestDiscard(t *testing.T) {
	c := open(t)
	wantMissing(t, c.Discard(t.Context(), "r"), "root r")
	r := makeRoot(t, c, "r")
	if err := c.Discard(t.Context(), "r"); !errors.Is(err, ErrBusy) {
		t.Errorf("leased: %v", err)
	}
	r.Close()
	done, err := c.Writing(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	unlock, err := c.lockRoot(t.Context(), "r")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := c.Discard(ctx, "r"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("while somebody makes it: %v", err)
	}
	unlock()
	if err := c.Discard(t.Context(), "r"); err != nil {
		t.Errorf("while somebody makes something else: %v", err)
	}
	wantFiles(t, c)
}

// Many who find the damage at once all end up with one new root.
func TestDiscardRaces(t *testing.T) {
	c := open(t)
	makeRoot(t, c, "r").Close()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 20 {
				if err := c.Discard(t.Context(), "r"); err != nil && !errors.Is(err, ErrMissing) && !errors.Is(err, ErrBusy) {
					t.Error(err)
				}
				r, err := c.Root(t.Context(), "r", func(_ context.Context, dir *os.File) error { return fillSmall(dir) })
				if err != nil {
					t.Error(err)
					continue
				}
				if err := checkSmall(r); err != nil {
					t.Error(err)
				}
				r.Close()
			}
		})
	}
	wg.Wait()
	wantFiles(t, c, "roots/r", "roots/r/plan", "roots/r/rootfs", "roots/r/rootfs/file")
}

func BenchmarkWarm(b *testing.B) {
	dir := b.TempDir()
	c, err := Open(dir)
	if err != nil {
		b.Fatal(err)
	}
	if err := c.SetRef("docker.io/library/alpine:3.20", make([]byte, 8<<10)); err != nil {
		b.Fatal(err)
	}
	r, err := c.Root(b.Context(), "r", func(context.Context, *os.File) error { return nil })
	if err != nil {
		b.Fatal(err)
	}
	r.Close()
	c.Close()
	for b.Loop() {
		c, err := Open(dir)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := c.Ref("docker.io/library/alpine:3.20"); err != nil {
			b.Fatal(err)
		}
		r, err := c.Lease("r")
		if err != nil {
			b.Fatal(err)
		}
		r.Close()
		c.Close()
	}
}
