package cache

import (
	"context"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/umiak/umiak/cache/flock"
	"golang.org/x/sys/unix"
)

// temp is a directory beneath tmp/ that is ours as long as we live.
//
// What is made lies inside it, under a name of its own, rather than being it:
// that way the lock that keeps sweepers off never comes along to the final
// place, where a lease would have to wait for it.
type temp struct {
	c    *Cache
	base string // The name within tmp/.
	lock *os.File
}

func (c *Cache) temp() (*temp, error) {
	for {
		t := &temp{c: c, base: randomName()}
		err := c.root.Mkdir(t.path(""), 0o700)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		t.lock, err = flock.Open(c.root, t.path(""), look|unix.O_DIRECTORY, flock.Exclusive)
		if err == nil {
			return t, nil
		}
		// Between making and locking it looked like one whose owner is dead, and a
		// sweeper took it.
		if !errors.Is(err, flock.ErrBusy) && !errors.Is(err, fs.ErrNotExist) {
			c.root.Remove(t.path(""))
			return nil, err
		}
	}
}

// path is the path within the cache of name in t.
func (t *temp) path(name string) string {
	path := tmpDir + "/" + t.base
	if name != "" {
		path += "/" + name
	}
	return path
}

// remove takes the directory away with all that is still in it. It doesn't
// listen to any context: who is interrupted shall leave nothing behind.
func (t *temp) remove() (freed int64, err error) {
	defer flock.Close(t.lock)
	return t.c.removeTemp(context.Background(), t.base)
}

// removeTemp deletes an entry of tmp/ that the caller has locked.
func (c *Cache) removeTemp(ctx context.Context, base string) (int64, error) {
	dir, err := c.openDir(tmpDir)
	if err != nil {
		return 0, err
	}
	defer dir.Close()
	return removeTree(ctx, dir, base)
}

// sweep removes what dead processes have left in tmp/, for as long as limit
// lets it (0 is no limit). What is left then is for the next sweep: a tree half
// removed is no worse than a whole one. Errors are returned for those who care;
// leftovers keep nobody from working.
func (c *Cache) sweep(ctx context.Context, limit time.Duration) (freed int64, err error) {
	dir, err := c.openDir(tmpDir)
	if err != nil {
		return 0, err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if len(names) == 0 {
		return 0, err
	}
	if limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, limit)
		defer cancel()
	}
	var errs []error
	for _, base := range names {
		n, err := c.sweepOne(ctx, base)
		freed += n
		if ctx.Err() != nil {
			return freed, ctx.Err()
		}
		errs = append(errs, err)
	}
	return freed, errors.Join(errs...)
}

func (c *Cache) sweepOne(ctx context.Context, base string) (int64, error) {
	path := tmpDir + "/" + base
	// Only what we make ourselves, which is directories of such names, is ours to
	// remove. flock.Open would follow a link.
	if info, err := c.root.Lstat(path); !isRandomName(base) || err != nil || !info.IsDir() {
		return 0, nil
	}
	lock, err := flock.Open(c.root, path, look|unix.O_DIRECTORY, flock.Exclusive)
	if errors.Is(err, flock.ErrBusy) || errors.Is(err, fs.ErrNotExist) {
		return 0, nil // Somebody works there, or has swept it before us.
	}
	if err != nil {
		return 0, err
	}
	defer flock.Close(lock)
	return c.removeTemp(ctx, base)
}

// Names that we give things are all alike: others are not ours.
const (
	namePrefix = "umiak-"
	nameDigits = "0123456789abcdefghijklmnopqrstuvwxyz"
	nameLength = 13 // of 2⁶⁴-1 in base 36
)

func randomName() string {
	number := strconv.FormatUint(rand.Uint64(), len(nameDigits))
	return namePrefix + strings.Repeat("0", nameLength-len(number)) + number
}

func isRandomName(name string) bool {
	number, ours := strings.CutPrefix(name, namePrefix)
	return ours && len(number) == nameLength && strings.Trim(number, nameDigits) == ""
}
