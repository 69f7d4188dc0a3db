package pull

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"github.com/umiak/umiak/cache"
	"github.com/umiak/umiak/image"
	"github.com/umiak/umiak/unpack/manifest"
)

// Manifest is where in a root is written down what the tree consisted of when it was made. It
// is there to find out by accident or otherwise what has changed, not to keep out who may write there.
const Manifest = "manifest"

// ErrUnverifiable says that there is nothing to compare a root with.
var ErrUnverifiable = errors.New("cannot be verified")

// writeManifest writes the manifest of a tree just made beside it.
func writeManifest(ctx context.Context, dir, rootfs *os.File) error {
	f, err := openIn(dir, Manifest, syscall.O_WRONLY|syscall.O_CREAT|syscall.O_EXCL)
	if err != nil {
		return err
	}
	_, err = manifest.Write(ctx, rootfs, f)
	return errors.Join(err, f.Close())
}

// Verify compares the tree of an image in the cache, contents and all, with what it was when it was
// made, and calls report for each difference. No difference and no error is an image as it was
// unpacked. The error wraps ErrNotCached if the image isn't there, and ErrUnverifiable if its manifest
// isn't or is damaged.
func Verify(ctx context.Context, c *cache.Cache, ref image.Reference, p image.Platform, report func(manifest.Difference)) error {
	root, err := lease(c, ref, p)
	if err != nil {
		return err
	}
	defer root.Close()
	if err := verify(ctx, root.Dir(), report); err != nil {
		return fmt.Errorf("image %s: %w", ref.Familiar(), err)
	}
	return nil
}

func verify(ctx context.Context, dir *os.File, report func(manifest.Difference)) error {
	m, err := openIn(dir, Manifest, syscall.O_RDONLY|syscall.O_NONBLOCK)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: no manifest was kept when it was pulled", ErrUnverifiable)
	}
	if err != nil {
		return err
	}
	defer m.Close()
	tree, err := openIn(dir, RootFS, syscall.O_RDONLY|syscall.O_DIRECTORY)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) || errors.Is(err, syscall.ELOOP) {
		report(manifest.Difference{Path: "/", Kind: manifest.Missing})
		return nil
	}
	if err != nil {
		return err
	}
	defer tree.Close()
	err = manifest.Compare(ctx, tree, m, report)
	if errors.Is(err, manifest.ErrDamaged) {
		err = fmt.Errorf("%w: %w", ErrUnverifiable, err)
	}
	return err
}

// lease is warm without mending anything.
func lease(c *cache.Cache, ref image.Reference, p image.Platform) (*cache.Root, error) {
	rec, err := load(c, ref, p)
	if errors.Is(err, cache.ErrMissing) {
		return nil, fmt.Errorf("image %s for %s is %w", ref.Familiar(), p, ErrNotCached)
	}
	if err != nil {
		return nil, err
	}
	root, err := c.Lease(rootID(rec.img))
	if errors.Is(err, cache.ErrMissing) {
		return nil, fmt.Errorf("image %s: %w: it is not unpacked", ref.Familiar(), ErrUnverifiable)
	}
	return root, err
}

// Repair makes the tree of an image in the cache anew, from its layers there and, where one
// is missing or damaged, from o.Source. The error is cache.ErrBusy if something uses the tree.
func Repair(ctx context.Context, ref image.Reference, o Options) error {
	rec, err := load(o.Cache, ref, o.Platform)
	if errors.Is(err, cache.ErrMissing) {
		return fmt.Errorf("image %s for %s is %w", ref.Familiar(), o.Platform, ErrNotCached)
	}
	if err == nil {
		err = o.Cache.Discard(ctx, rootID(rec.img))
	}
	if err != nil && !errors.Is(err, cache.ErrMissing) {
		return fmt.Errorf("image %s: %w", ref.Familiar(), err)
	}
	o.Always = false
	r, err := Pull(ctx, ref, o)
	if err != nil {
		return err
	}
	return r.Root.Close()
}

// openIn opens a name in dir that is no link.
func openIn(dir *os.File, name string, flags int) (*os.File, error) {
	fd, err := syscall.Openat(int(dir.Fd()), name, flags|syscall.O_NOFOLLOW|syscall.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, &os.PathError{Op: "openat", Path: name, Err: err}
	}
	return os.NewFile(uintptr(fd), name), nil
}
