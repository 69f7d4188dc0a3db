package cache

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/umiak/umiak/cache/digest"
	"github.com/umiak/umiak/cache/flock"
)

// Live is what Collect has to keep.
type Live struct {
	Blobs map[digest.Digest]bool
	Roots map[string]bool
}

// Collect removes the blobs and roots that aren't live, but no leased root, and
// returns how many bytes of disk that freed. The error is ErrBusy if somebody
// is writing. live is called when nobody can add anything any more; it must
// not add anything either.
//
// An interruption or an error keeps nothing from being collected next time.
func (c *Cache) Collect(ctx context.Context, live func() (Live, error)) (freed int64, err error) {
	freed, err = c.collect(ctx, live)
	if err != nil {
		err = fmt.Errorf("collecting garbage in %s: %w", c.path, err)
	}
	return freed, err
}

func (c *Cache) collect(ctx context.Context, live func() (Live, error)) (freed int64, err error) {
	f, err := c.lockWriting()
	if err != nil {
		return 0, err
	}
	defer flock.Close(f)
	if err := flock.Try(f, flock.Exclusive); err != nil {
		return 0, busy(err)
	}
	keep, err := live()
	if err != nil {
		return 0, err
	}
	return c.collectAll(ctx, keep)
}

// collectAll goes on after an error: one thing that can't be removed shouldn't
// keep all others.
func (c *Cache) collectAll(ctx context.Context, keep Live) (freed int64, err error) {
	var errs []error
	for _, step := range []func() (int64, error){
		func() (int64, error) { return c.collectRoots(ctx, keep.Roots) },
		func() (int64, error) { return c.collectBlobs(ctx, "sha256", keep.Blobs) },
		func() (int64, error) { return c.collectBlobs(ctx, "sha512", keep.Blobs) },
		func() (int64, error) { return c.sweep(ctx, 0) },
		func() (int64, error) { return 0, c.collectLocks() },
	} {
		if err := ctx.Err(); err != nil {
			return freed, err
		}
		n, err := step()
		freed += n
		errs = append(errs, err)
	}
	return freed, errors.Join(errs...)
}

func (c *Cache) collectRoots(ctx context.Context, keep map[string]bool) (freed int64, err error) {
	ids, err := c.list(rootsDir)
	errs := []error{err}
	for _, id := range ids {
		if keep[id] {
			continue
		}
		n, err := c.removeRoot(ctx, id)
		freed += n
		if ctx.Err() != nil {
			return freed, ctx.Err()
		}
		if err != nil && !errors.Is(err, ErrBusy) {
			errs = append(errs, fmt.Errorf("removing root %s: %w", id, err))
		}
	}
	return freed, errors.Join(errs...)
}

// collectBlobs just unlinks: a blob goes in one step, and who reads it keeps it
// until he is done.
func (c *Cache) collectBlobs(ctx context.Context, algorithm string, keep map[digest.Digest]bool) (freed int64, err error) {
	dir, err := c.openDir(blobsDir + "/" + algorithm)
	if err != nil {
		return 0, err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	errs := []error{err}
	for _, hex := range names {
		if keep[digest.Digest(algorithm+":"+hex)] {
			continue
		}
		n, err := removeTree(ctx, dir, hex) // Whatever was put in place of a blob.
		freed += n
		if ctx.Err() != nil {
			return freed, ctx.Err()
		}
		errs = append(errs, err)
	}
	return freed, errors.Join(errs...)
}

// collectLocks removes lock files whose owners were killed. Owners that live
// are writing, so there are none now.
func (c *Cache) collectLocks() error {
	names, err := c.list(locksDir)
	errs := []error{err}
	for _, base := range names {
		name := locksDir + "/" + base
		if !strings.HasPrefix(base, "blob-") && !strings.HasPrefix(base, "root-") {
			continue
		}
		lock, err := flock.Open(c.root, name, os.O_RDWR, flock.Exclusive)
		if err == nil {
			err = flock.Remove(c.root, name, lock)
		}
		if errors.Is(err, flock.ErrBusy) || errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// list is the names in one of the cache's directories, in no order.
func (c *Cache) list(dir string) ([]string, error) {
	f, err := c.openDir(dir)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return f.Readdirnames(-1)
}

// busy turns the locks' error into ours.
func busy(err error) error {
	if errors.Is(err, flock.ErrBusy) {
		return fmt.Errorf("%w: %w", ErrBusy, err)
	}
	return err
}
