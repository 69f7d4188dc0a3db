package cache

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"sync"
	"time"

	"github.com/umiak/umiak/cache/flock"
	"golang.org/x/sys/unix"
)

var (
	// ErrMissing says that something isn't there, or is damaged, which comes
	// to the same: it has to be made again.
	ErrMissing = errors.New("not in the cache")
	// ErrBusy says that somebody else uses what was to be removed.
	ErrBusy = errors.New("in use by another process")
)

// The places beneath the cache's directory.
const (
	readme   = "README"
	tmpDir   = "tmp"
	blobsDir = "blobs"
	rootsDir = "roots"
	refsDir  = "refs"
	locksDir = "locks"
	writing  = locksDir + "/writing"
)

const readmeText = `This directory belongs to umiak. It keeps what was pulled, so that the next
run needs no network: blobs as registries sent them, roots unpacked from them,
and references that say which image is which.

"umiak images" lists the images and "umiak rmi" removes them. While no umiak is
running, the whole directory can also be removed; umiak makes a new one.
Don't change anything inside roots/: every run of an image shares it.
`

// Cache is an open cache directory. Its methods may be called by any number of
// goroutines.
type Cache struct {
	path string
	root *os.Root
	// sweepOnce cleans up thoroughly before the first thing is added.
	sweepOnce func()
}

// Open opens the cache at dir and makes it, with its parents, if necessary. A
// directory that isn't a cache becomes one only if it's empty: ErrNotACache, and
// ErrNewer for the cache of a later umiak.
func Open(dir string) (*Cache, error) {
	c, err := connect(dir)
	if errors.Is(err, fs.ErrNotExist) {
		if err = os.MkdirAll(dir, 0o700); err == nil {
			c, err = connect(dir)
		}
	}
	if err == nil {
		if err = c.claim(); err != nil {
			c.Close()
		}
	}
	if err != nil {
		return nil, fmt.Errorf("opening cache %s: %w", dir, err)
	}
	// Leftovers are nobody's fault who opens the cache now, nor the time it takes
	// to remove them.
	c.sweep(context.Background(), warmSweep)
	return c, nil
}

// OpenExisting is Open for who only looks: it makes nothing and removes nothing.
// The error is ErrMissing if there is no cache at dir.
func OpenExisting(dir string) (*Cache, error) {
	c, err := connect(dir)
	if err == nil {
		if err = c.recognize(); err == nil {
			return c, nil
		}
		c.Close()
	}
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, ErrMissing) {
		return nil, fmt.Errorf("%w: there is no cache at %s", ErrMissing, dir)
	}
	return nil, fmt.Errorf("opening cache %s: %w", dir, err)
}

// connect opens the directory, whatever it is.
func connect(dir string) (*Cache, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(abs)
	if err != nil {
		return nil, err
	}
	c := &Cache{path: abs, root: root}
	c.sweepOnce = sync.OnceFunc(func() { c.sweep(context.Background(), coldSweep) })
	return c, nil
}

// How long to clean up after processes that died. Opening the cache for a run
// that takes milliseconds may take some more, once; adding to it is slower.
const (
	warmSweep = 20 * time.Millisecond
	coldSweep = time.Second
)

// Close gives back the directory. Leases and blobs already taken stay good.
func (c *Cache) Close() error { return c.root.Close() }

// Path is the absolute path of the cache's directory.
func (c *Cache) Path() string { return c.path }

// prepare is for whoever is about to add or remove things. Looking things up
// does without. Somebody may have removed a directory by hand, or an earlier
// attempt failed, so the layout is made as often as it's needed.
func (c *Cache) prepare() error {
	c.sweepOnce()
	return c.layout()
}

// layout makes the directories that aren't there.
func (c *Cache) layout() error {
	for _, name := range []string{
		tmpDir, blobsDir, blobsDir + "/sha256", blobsDir + "/sha512",
		rootsDir, refsDir, locksDir, "state",
	} {
		if err := c.root.Mkdir(name, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	if _, err := c.root.Lstat(readme); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return c.root.WriteFile(readme, []byte(readmeText), 0o600)
}

// Writing keeps Collect away until done is called. Hold it from before the
// first Put or Root of an image until its reference is set: what nothing
// refers to yet is garbage to Collect. Writers don't exclude each other.
func (c *Cache) Writing(ctx context.Context) (done func(), err error) {
	f, err := c.lockWriting()
	if err == nil {
		if err = flock.Lock(ctx, f, flock.Shared); err != nil {
			f.Close()
		}
	}
	if err != nil {
		return nil, fmt.Errorf("writing to cache %s: %w", c.path, err)
	}
	return func() { flock.Close(f) }, nil
}

// lockWriting opens the file that the lock is on. It's never removed, so
// there is no need to look at its name again.
func (c *Cache) lockWriting() (*os.File, error) {
	if err := c.prepare(); err != nil {
		return nil, err
	}
	return c.root.OpenFile(writing, os.O_RDWR|os.O_CREATE, 0o600)
}

// look says how to open what is there. O_NONBLOCK means nothing to files and
// directories (open(2)); it keeps a FIFO in their place from stopping us, and package
// os from asking, with four system calls, whether it could set it itself.
const look = os.O_RDONLY | unix.O_NONBLOCK

// open opens a file or directory beneath the cache's directory for reading.
func (c *Cache) open(name string) (*os.File, error) {
	return c.root.OpenFile(name, look, 0)
}

// commit moves what was made in tmp/ to its place, durably. It has the type
// want; a thing of another type at that place is damage, was reported missing,
// and would be in the way of rename(2).
func (c *Cache) commit(from, to string, want fs.FileMode) error {
	if err := c.removeAlien(to, want); err != nil {
		return err
	}
	if err := c.root.Rename(from, to); err != nil {
		return err
	}
	return c.syncDir(path.Dir(to))
}

func (c *Cache) removeAlien(name string, want fs.FileMode) error {
	info, err := c.root.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil && info.Mode().Type() != want {
		err = c.root.RemoveAll(name)
	}
	return err
}

// openDir opens one of the cache's own directories to go through it. Who goes
// through one may be about to remove what is there: a link in its place, to
// another directory of the cache, is not followed.
func (c *Cache) openDir(name string) (*os.File, error) {
	info, err := c.root.Lstat(name)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return nil, &fs.PathError{Op: "open", Path: name, Err: unix.ENOTDIR}
	}
	return c.root.OpenFile(name, look|unix.O_DIRECTORY, 0)
}

// syncDir makes a rename into the directory name durable.
func (c *Cache) syncDir(name string) error {
	dir, err := c.open(name)
	if err != nil {
		return err
	}
	defer dir.Close()
	// Some file systems can't sync a directory and say so with EINVAL (fsync(2));
	// there is nothing better to be done on them.
	if err := dir.Sync(); err != nil && !errors.Is(err, unix.EINVAL) {
		return err
	}
	return nil
}
