package cache

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/umiak/umiak/cache/flock"
	"golang.org/x/sys/unix"
)

// Root is a leased directory roots/<id>: as long as it's open, and its holder
// lives, nobody removes it.
type Root struct {
	id   string
	path string
	dir  *os.File
}

// ID is the name it was made under.
func (r *Root) ID() string { return r.id }

// Path is its absolute path.
func (r *Root) Path() string { return r.path }

// Dir is a handle of the directory. It carries the lease and belongs to r:
// don't close it.
func (r *Root) Dir() *os.File { return r.dir }

// Close drops the lease. Doing it again does nothing.
func (r *Root) Close() error {
	if err := flock.Close(r.dir); !errors.Is(err, os.ErrClosed) {
		return err
	}
	return nil
}

// Root leases the root id, which has one to 128 letters a-z, digits and
// hyphens. If it isn't there, fill is called to make it in the empty directory
// dir, which is committed if fill returns nil. dir is only good within fill.
func (c *Cache) Root(ctx context.Context, id string, fill func(ctx context.Context, dir *os.File) error) (*Root, error) {
	r, err := c.Lease(id)
	if !errors.Is(err, ErrMissing) {
		return r, err
	}
	r, err = c.makeRoot(ctx, id, fill)
	if err != nil {
		return nil, fmt.Errorf("making root %s in %s: %w", id, c.path, err)
	}
	return r, nil
}

func (c *Cache) makeRoot(ctx context.Context, id string, fill func(ctx context.Context, dir *os.File) error) (*Root, error) {
	unlock, err := c.lockRoot(ctx, id)
	if err != nil {
		return nil, err
	}
	defer unlock()
	// Somebody else may have made it while we waited.
	r, err := c.Lease(id)
	if !errors.Is(err, ErrMissing) {
		return r, err
	}
	t, err := c.temp()
	if err != nil {
		return nil, err
	}
	defer t.remove()
	dir, err := c.fillRoot(ctx, t.path("root"), fill)
	if err != nil {
		return nil, err
	}
	if err := c.commit(t.path("root"), rootPath(id), fs.ModeDir); err != nil {
		flock.Close(dir)
		return nil, err
	}
	return c.leased(id, dir), nil
}

// fillRoot makes a whole root at path and leases it there, where nobody else
// knows it, so that there is no moment at which it could be collected.
func (c *Cache) fillRoot(ctx context.Context, path string, fill func(ctx context.Context, dir *os.File) error) (*os.File, error) {
	if err := c.root.Mkdir(path, 0o700); err != nil {
		return nil, err
	}
	dir, err := flock.Open(c.root, path, look|unix.O_DIRECTORY, flock.Shared)
	if err != nil {
		return nil, err
	}
	err = fill(ctx, dir)
	if err == nil {
		err = dir.Chmod(0o700) // Whatever fill made of it: setuid programs lie inside.
	}
	if err == nil {
		// One call for the whole tree instead of one fsync a file.
		err = os.NewSyscallError("syncfs", unix.Syncfs(int(dir.Fd())))
	}
	if err != nil {
		flock.Close(dir)
		return nil, err
	}
	return dir, nil
}

// Lease leases a root that is there.
func (c *Cache) Lease(id string) (*Root, error) {
	if id == "" || len(id) > 128 || strings.Trim(id, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
		return nil, fmt.Errorf("leasing root %q: the id must be 1 to 128 letters a-z, digits and hyphens", id)
	}
	dir, err := flock.Open(c.root, rootPath(id), look|unix.O_DIRECTORY, flock.Shared)
	switch {
	case err == nil:
		return c.leased(id, dir), nil
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("root %s: %w", id, ErrMissing)
	case errors.Is(err, flock.ErrBusy): // Only who removes a root locks it exclusively.
		return nil, fmt.Errorf("root %s: %w: it is being removed", id, ErrMissing)
	case errors.Is(err, unix.ENOTDIR):
		return nil, fmt.Errorf("root %s: %w: it is not a directory", id, ErrMissing)
	}
	return nil, fmt.Errorf("leasing root %s in %s: %w", id, c.path, err)
}

func rootPath(id string) string { return rootsDir + "/" + id }

func (c *Cache) leased(id string, dir *os.File) *Root {
	return &Root{id: id, path: c.path + "/" + rootPath(id), dir: dir}
}

// lockRoot makes the caller the only one who makes or discards a root.
func (c *Cache) lockRoot(ctx context.Context, id string) (unlock func(), err error) {
	done, err := c.Writing(ctx)
	if err != nil {
		return nil, err
	}
	name := locksDir + "/root-" + id
	lock, err := flock.Create(ctx, c.root, name)
	if err != nil {
		done()
		return nil, err
	}
	return func() {
		flock.Remove(c.root, name, lock)
		done()
	}, nil
}

// Discard removes a root in which something turned out to be damaged, so that
// Root makes it anew. The error is ErrBusy if the root is leased, by the caller
// too, and ErrMissing if somebody has discarded it already.
func (c *Cache) Discard(ctx context.Context, id string) error {
	r, err := c.Lease(id) // Checks the id, and that there is something to discard.
	if err != nil {
		return err
	}
	r.Close()
	unlock, err := c.lockRoot(ctx, id)
	if err == nil {
		_, err = c.removeRoot(ctx, id)
		unlock()
	}
	if err != nil {
		return fmt.Errorf("discarding root %s in %s: %w", id, c.path, err)
	}
	return nil
}

// removeRoot removes a root unless it's leased: ErrBusy. The caller sees to it
// that nobody makes it meanwhile.
func (c *Cache) removeRoot(ctx context.Context, id string) (freed int64, err error) {
	if err := c.removeAlien(rootPath(id), fs.ModeDir); err != nil {
		return 0, err
	}
	lock, err := flock.Open(c.root, rootPath(id), look|unix.O_DIRECTORY, flock.Exclusive)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, busy(err)
	}
	defer flock.Close(lock)
	// Straight to tmp/, where our lock on it keeps sweepers off. To make a
	// directory there first would need space, and a full disk is why one removes
	// things.
	base := randomName()
	if err := c.root.Rename(rootPath(id), tmpDir+"/"+base); err != nil {
		return 0, err
	}
	return c.removeTemp(ctx, base)
}
