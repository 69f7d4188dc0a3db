package cache

import (
	"bytes"
	"context"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"

	"github.com/umiak/umiak/cache/digest"
	"golang.org/x/sys/unix"
)

func putErr(t *testing.T, c *Cache, b []byte) error {
	t.Helper()
	return c.Put(t.Context(), digest.FromBytes(b), int64(len(b)), bytesOf(b))
}

func notOpened(context.Context) (io.ReadCloser, error) {
	return nil, errors.New("opened")
}

func TestPut(t *testing.T) {
	c := open(t)
	content := bigBlob()
	d := digest.FromBytes(content)
	if _, err := c.Blob(d); !errors.Is(err, ErrMissing) {
		t.Errorf("before: %v", err)
	}
	put(t, c, content)
	checkBytes(t, c, d, content)
	wantFiles(t, c, blobPath(d))
	if info, err := os.Stat(filepath.Join(c.Path(), blobPath(d))); err != nil || info.Mode() != 0o444 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if err := c.Put(t.Context(), d, int64(len(content)), notOpened); err != nil {
		t.Errorf("again: %v", err)
	}
}

func TestPutEmptyAnd512(t *testing.T) {
	c := open(t)
	put(t, c, nil)
	checkBytes(t, c, digest.FromBytes(nil), nil)
	content := []byte("by the other algorithm")
	sum := sha512.Sum512(content)
	d := digest.Digest("sha512:" + hex.EncodeToString(sum[:]))
	if err := c.Put(t.Context(), d, -1, bytesOf(content)); err != nil {
		t.Fatal(err)
	}
	checkBytes(t, c, d, content)
}

// Nothing that goes wrong leaves anything.
func TestPutFails(t *testing.T) {
	content := bigBlob()
	d := digest.FromBytes(content)
	size := int64(len(content))
	broken := errors.New("connection reset")
	for _, tt := range []struct {
		name string
		d    digest.Digest
		size int64
		r    io.Reader
		want error
	}{
		{"other bytes", digest.FromBytes(nil), -1, bytes.NewReader(content), digest.ErrMismatch},
		{"cut", d, size, bytes.NewReader(content[1:]), digest.ErrMismatch},
		{"cut, size unknown", d, -1, bytes.NewReader(content[1:]), digest.ErrMismatch},
		{"longer", d, size, io.MultiReader(bytes.NewReader(content), strings.NewReader("x")), digest.ErrMismatch},
		{"other size announced", d, size + 1, bytes.NewReader(content), digest.ErrMismatch},
		{"broken", d, size, io.MultiReader(bytes.NewReader(content[:1000]), iotest.ErrReader(broken)), broken},
		{"not opened", d, size, nil, broken},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := open(t)
			err := c.Put(t.Context(), tt.d, tt.size, func(context.Context) (io.ReadCloser, error) {
				if tt.r == nil {
					return nil, broken
				}
				return io.NopCloser(tt.r), nil
			})
			if !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.d.String()) {
				t.Errorf("error %v, want %v and the digest", err, tt.want)
			}
			wantFiles(t, c)
			put(t, c, content)
		})
	}
}

// A digest made by conversion is no way out of the directory.
func TestBlobPaths(t *testing.T) {
	c := open(t)
	for _, d := range []digest.Digest{"", "sha256:../../README", "sha256:", "../x:y", "md5:00"} {
		if err := c.Put(t.Context(), d, -1, notOpened); err == nil || strings.Contains(err.Error(), "opened") {
			t.Errorf("Put(%q): %v", d, err)
		}
		if f, err := c.Blob(d); err == nil {
			t.Errorf("Blob(%q) opens %s", d, f.Name())
		}
	}
	wantFiles(t, c)
}

// Damage is found, is no error but a miss, and goes away by putting again.
func TestBlobDamaged(t *testing.T) {
	content := bigBlob()
	for _, tt := range []struct {
		name   string
		damage func(path string) error
		says   string // What Blob says; "" if it can't see it.
		xattr  bool   // It takes extended attributes to see it.
	}{
		{"truncated", func(p string) error { return os.Truncate(p, 1000) }, "1000 bytes instead of 1048576", true},
		{"empty", func(p string) error { return os.Truncate(p, 0) }, "0 bytes instead of 1048576", true},
		{"grown", func(p string) error { return os.Truncate(p, 2<<20) }, "bytes instead of", true},
		{"turned", func(p string) error {
			f, err := os.OpenFile(p, os.O_WRONLY, 0)
			if err == nil {
				_, err = f.WriteAt([]byte{^content[500000]}, 500000)
				f.Close()
			}
			return err
		}, "", false},
		{"replaced by a directory", func(p string) error {
			return errors.Join(os.Remove(p), os.Mkdir(p, 0o700))
		}, "not a regular file", false},
		{"replaced by a FIFO", func(p string) error {
			return errors.Join(os.Remove(p), unix.Mkfifo(p, 0o600))
		}, "not a regular file", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := open(t)
			d := put(t, c, content)
			path := filepath.Join(c.Path(), blobPath(d))
			if err := errors.Join(os.Chmod(path, 0o600), tt.damage(path)); err != nil {
				t.Fatal(err)
			}
			if tt.says != "" && (!tt.xattr || hasAttributes(t)) {
				wantMissing(t, missing(c.Blob(d)), tt.says)
			}
			put(t, c, content)
			checkBytes(t, c, d, content)
			wantFiles(t, c, blobPath(d))
		})
	}
}

func hasAttributes(t *testing.T) bool {
	file := filepath.Join(t.TempDir(), "file")
	return os.WriteFile(file, nil, 0o600) == nil && unix.Setxattr(file, sizeAttribute, []byte("0"), 0) == nil
}

// However many ask, one downloads.
func TestPutOnceAmongGoroutines(t *testing.T) {
	c := open(t)
	content := bigBlob()
	d := digest.FromBytes(content)
	var opened atomic.Int32
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			err := c.Put(t.Context(), d, -1, func(context.Context) (io.ReadCloser, error) {
				opened.Add(1)
				time.Sleep(20 * time.Millisecond)
				return io.NopCloser(bytes.NewReader(content)), nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := opened.Load(); n != 1 {
		t.Errorf("opened %d times", n)
	}
	wantFiles(t, c, blobPath(d))
}

func TestPutOnceAmongProcesses(t *testing.T) {
	c := open(t)
	notes := filepath.Join(t.TempDir(), "notes")
	var wg sync.WaitGroup
	for range 8 {
		cmd := command(t, "put", c.Path(), notes)
		wg.Go(func() {
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
	wg.Wait()
	if n := lines(t, notes); n != 1 {
		t.Errorf("%d downloads", n)
	}
	checkBytes(t, c, digest.FromBytes(bigBlob()), bigBlob())
	wantFiles(t, c, blobPath(digest.FromBytes(bigBlob())))
}

// If the one that downloads fails, another one tries.
func TestPutTakesOver(t *testing.T) {
	c := open(t)
	content := bigBlob()
	d := digest.FromBytes(content)
	started := make(chan struct{})
	fail := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		err := c.Put(t.Context(), d, -1, func(context.Context) (io.ReadCloser, error) {
			close(started)
			<-fail
			return nil, errors.New("no luck")
		})
		if err == nil {
			t.Error("no error")
		}
	})
	<-started
	wg.Go(func() {
		if err := c.Put(t.Context(), d, -1, bytesOf(content)); err != nil {
			t.Error(err)
		}
	})
	time.Sleep(10 * time.Millisecond)
	close(fail)
	wg.Wait()
	checkBytes(t, c, d, content)
}

func TestPutKilled(t *testing.T) {
	c := open(t)
	d := digest.FromBytes(bigBlob())
	kill := hanging(t, "put and hang", c.Path())
	if _, err := c.Blob(d); !errors.Is(err, ErrMissing) {
		t.Errorf("half a blob shows: %v", err)
	}
	// While it lives, nobody sweeps its work, and nobody else starts.
	openAt(t, c.Path())
	if len(files(t, c)) < 2 {
		t.Errorf("work of a living process was swept: %q", files(t, c))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := c.Put(ctx, d, -1, notOpened); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("waiting for the living: %v", err)
	}
	kill()
	c = openAt(t, c.Path())
	put(t, c, bigBlob())
	checkBytes(t, c, d, bigBlob())
	wantFiles(t, c, blobPath(d))
}

func TestPutCancelled(t *testing.T) {
	c := open(t)
	ctx, cancel := context.WithCancel(t.Context())
	left := 16 << 20 // For ever, but not for the disk.
	err := c.Put(ctx, digest.FromBytes(nil), -1, func(context.Context) (io.ReadCloser, error) {
		return io.NopCloser(readerFunc(func(p []byte) (int, error) {
			cancel()
			if left -= len(p); left < 0 {
				return 0, errors.New("read on after the end of the context")
			}
			return len(p), nil
		})), nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	wantFiles(t, c)
}
