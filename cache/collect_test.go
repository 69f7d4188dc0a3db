package cache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/umiak/umiak/cache/digest"
)

func nothing() (Live, error) { return Live{}, nil }

func TestCollect(t *testing.T) {
	c := open(t)
	keep := put(t, c, []byte("keep"))
	drop := put(t, c, bigBlob())
	makeRoot(t, c, "keep").Close()
	makeRoot(t, c, "drop").Close()
	leased := makeRoot(t, c, "leased")
	if err := c.SetRef("name", nil); err != nil {
		t.Fatal(err)
	}
	reading, err := c.Blob(drop)
	if err != nil {
		t.Fatal(err)
	}
	defer reading.Close()

	live := Live{Blobs: map[digest.Digest]bool{keep: true}, Roots: map[string]bool{"keep": true}}
	freed, err := c.Collect(t.Context(), func() (Live, error) { return live, nil })
	if err != nil {
		t.Fatal(err)
	}
	if freed < 1<<20 || freed > 2<<20 {
		t.Errorf("freed %d, want a little more than 1 MiB", freed)
	}
	wantMissing(t, missing(c.Blob(drop)), "blob")
	wantMissing(t, missing(c.Lease("drop")), "root")
	checkBytes(t, c, keep, []byte("keep"))
	if err := checkSmall(leased); err != nil {
		t.Errorf("a leased root: %v", err)
	}
	if err := missing(c.Lease("keep")); err != nil {
		t.Error(err)
	}
	if _, err := c.Ref("name"); err != nil {
		t.Error(err)
	}
	if b, err := io.ReadAll(io.LimitReader(reading, 16<<20)); err != nil || len(b) != 1<<20 {
		t.Errorf("a blob that is being read: %d bytes, %v", len(b), err)
	}
}

// missing is the error of Blob or Lease.
func missing[T io.Closer](f T, err error) error {
	if err == nil {
		f.Close()
	}
	return err
}

func TestCollectListFails(t *testing.T) {
	c := open(t)
	d := put(t, c, []byte("x"))
	broken := errors.New("can't tell what is live")
	if _, err := c.Collect(t.Context(), func() (Live, error) { return Live{}, broken }); !errors.Is(err, broken) {
		t.Errorf("error %v", err)
	}
	checkBytes(t, c, d, []byte("x"))
}

// Damage of any kind doesn't keep the rest from being collected.
func TestCollectDamaged(t *testing.T) {
	c := open(t)
	put(t, c, []byte("x"))
	for _, err := range []error{
		os.MkdirAll(filepath.Join(c.Path(), blobPath(digest.FromBytes(nil)), "a/b"), 0o700),
		os.WriteFile(filepath.Join(c.Path(), "blobs/sha512/junk"), nil, 0o600),
		os.WriteFile(filepath.Join(c.Path(), "roots/file"), nil, 0o600),
		os.Symlink("../state", filepath.Join(c.Path(), "roots/link")),
		os.WriteFile(filepath.Join(c.Path(), "locks/blob-of-the-dead"), nil, 0o600),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.Collect(t.Context(), nothing); err != nil {
		t.Error(err)
	}
	wantFiles(t, c)
	if _, err := os.Stat(filepath.Join(c.Path(), "state")); err != nil {
		t.Errorf("a link was followed: %v", err)
	}
}

// Other processes keep what they lease and what they write, and no longer than
// they live.
func TestCollectAmongProcesses(t *testing.T) {
	c := open(t)
	makeRoot(t, c, "r").Close()

	kill := hanging(t, "lease and hang", c.Path())
	if _, err := c.Collect(t.Context(), nothing); err != nil {
		t.Error(err)
	}
	if err := missing(c.Lease("r")); err != nil {
		t.Errorf("leased by another process, yet %v", err)
	}
	if err := c.Discard(t.Context(), "r"); !errors.Is(err, ErrBusy) {
		t.Errorf("Discard: %v", err)
	}
	kill()

	kill = hanging(t, "write and hang", c.Path())
	if _, err := c.Collect(t.Context(), nothing); !errors.Is(err, ErrBusy) {
		t.Errorf("another process writes: %v", err)
	}
	kill()

	if _, err := c.Collect(t.Context(), nothing); err != nil {
		t.Error(err)
	}
	wantFiles(t, c)
}

func TestCollectCancelled(t *testing.T) {
	c := open(t)
	d := put(t, c, []byte("x"))
	ctx, cancel := context.WithCancel(t.Context())
	_, err := c.Collect(ctx, func() (Live, error) { cancel(); return Live{}, nil })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	checkBytes(t, c, d, []byte("x"))
}

// Everybody does everything at once. Whoever holds a lease or is writing always
// finds what he holds or has just put.
func TestCollectRaces(t *testing.T) {
	dir := t.TempDir()
	if os.Geteuid() == 0 {
		dir = onTmpfs(t, "")
	}
	c := openAt(t, dir)
	ctx, cancel := context.WithCancel(t.Context())
	var collectors, users sync.WaitGroup
	for range 2 {
		collectors.Go(func() {
			for ctx.Err() == nil {
				if _, err := c.Collect(t.Context(), nothing); err != nil && !errors.Is(err, ErrBusy) {
					t.Error(err)
				}
			}
		})
	}
	for range 6 {
		users.Go(func() {
			for range 100 {
				if err := useAll(t.Context(), c); err != nil {
					t.Error(err)
				}
			}
		})
	}
	users.Wait()
	cancel()
	collectors.Wait()
	if _, err := c.Collect(t.Context(), nothing); err != nil {
		t.Error(err)
	}
	wantFiles(t, c)
}

func useAll(ctx context.Context, c *Cache) error {
	content := fmt.Append(nil, rand.IntN(3))
	d := digest.FromBytes(content)
	r, err := c.Lease("r")
	if errors.Is(err, ErrMissing) {
		r, err = c.Root(ctx, "r", func(_ context.Context, dir *os.File) error { return fillSmall(dir) })
	}
	if err != nil {
		return err
	}
	defer r.Close()
	if err := checkSmall(r); err != nil {
		return err
	}
	done, err := c.Writing(ctx)
	if err != nil {
		return err
	}
	defer done()
	if err := c.Put(ctx, d, int64(len(content)), bytesOf(content)); err != nil {
		return err
	}
	f, err := c.Blob(d)
	if err != nil {
		return err
	}
	f.Close()
	return checkSmall(r)
}

// A collector killed at any moment leaves a cache that works.
func TestCollectKilled(t *testing.T) {
	dir := onTmpfs(t, "")
	for i := range 20 {
		c := openAt(t, dir)
		r, err := c.Root(t.Context(), "r", func(_ context.Context, dir *os.File) error {
			at := filepath.Join("/proc/self/fd", fdName(dir), "rootfs")
			for n := range 2000 {
				if n%100 == 0 {
					at = filepath.Join(at, "d")
					if err := os.MkdirAll(at, 0o755); err != nil {
						return err
					}
				}
				if err := os.WriteFile(fmt.Sprint(at, "/", n), nil, 0o600); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		r.Close()
		whole := len(files(t, c))
		cmd := command(t, "collect", dir)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		for n := 0; n < i*50 && len(tmpEntries(t, dir)) == 0; n++ {
		}
		cmd.Process.Kill()
		cmd.Wait()
		if err := missing(c.Lease("r")); err == nil {
			if n := len(files(t, c)); n < whole {
				t.Fatalf("a root of %d files shows, %d were made", n, whole)
			}
		}
		if _, err := c.Collect(t.Context(), nothing); err != nil {
			t.Fatal(err)
		}
		wantFiles(t, c)
	}
}

func tmpEntries(t *testing.T, dir string) []fs.DirEntry {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(dir, "tmp"))
	if err != nil && !strings.Contains(err.Error(), "no such") {
		t.Fatal(err)
	}
	return entries
}
