package cache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"

	"github.com/umiak/umiak/cache/digest"
	"github.com/umiak/umiak/cache/flock"
	"golang.org/x/sys/unix"
)

const sizeAttribute = "user.umiak.size"

// Put makes sure that the content with digest d is stored. If it isn't, open is
// called for the bytes; a negative size is unknown.
//
// A nil error means that the content is stored, not that this call did it.
// Content that is there already is read and verified once, which costs a
// fraction of what unpacking it will, and makes Put the remedy for a damaged
// blob. If the bytes that open delivers aren't those promised, the error wraps
// digest.ErrMismatch and nothing is stored.
func (c *Cache) Put(ctx context.Context, d digest.Digest, size int64, open func(context.Context) (io.ReadCloser, error)) error {
	err := c.put(ctx, d, size, open)
	if err != nil {
		return fmt.Errorf("storing blob %s in %s: %w", d, c.path, err)
	}
	return nil
}

func (c *Cache) put(ctx context.Context, d digest.Digest, size int64, open func(context.Context) (io.ReadCloser, error)) error {
	if _, err := digest.Parse(string(d)); err != nil {
		return err
	}
	// Not to be collected between being found and being returned.
	done, err := c.Writing(ctx)
	if err != nil {
		return err
	}
	defer done()
	if err := c.verify(ctx, d, size); !errors.Is(err, ErrMissing) {
		return err
	}
	name := locksDir + "/blob-" + d.Algorithm() + "-" + d.Hex()
	lock, err := flock.Create(ctx, c.root, name)
	if err != nil {
		return err
	}
	defer flock.Remove(c.root, name, lock)
	if err := c.verify(ctx, d, size); !errors.Is(err, ErrMissing) {
		return err
	}
	return c.store(ctx, d, size, open)
}

// verify reads the blob that is stored. The error wraps ErrMissing unless it's
// the content wanted.
func (c *Cache) verify(ctx context.Context, d digest.Digest, size int64) error {
	f, err := c.Blob(d)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = copyTo(ctx, io.Discard, digest.NewReader(f, d, size))
	if errors.Is(err, digest.ErrMismatch) || errors.Is(err, unix.EIO) {
		return fmt.Errorf("blob %s: %w: %w", d, ErrMissing, err)
	}
	return err
}

// store makes the blob in a temporary directory and commits it.
func (c *Cache) store(ctx context.Context, d digest.Digest, size int64, open func(context.Context) (io.ReadCloser, error)) error {
	t, err := c.temp()
	if err != nil {
		return err
	}
	defer t.remove()
	r, err := open(ctx)
	if err != nil {
		return err
	}
	defer r.Close()
	f, err := c.root.OpenFile(t.path("blob"), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	n, err := copyTo(ctx, f, digest.NewReader(r, d, size))
	if err == nil {
		err = seal(f, n)
	}
	// Close reports what some file systems only find out late.
	if closing := f.Close(); err == nil {
		err = closing
	}
	if err != nil {
		return err
	}
	return c.commit(t.path("blob"), blobPath(d), 0)
}

// seal makes a blob durable and read-only. The size is a courtesy to Blob; not
// every file system can record it.
func seal(f *os.File, size int64) error {
	_ = unix.Fsetxattr(int(f.Fd()), sizeAttribute, strconv.AppendInt(nil, size, 10), 0)
	if err := f.Chmod(0o444); err != nil {
		return err
	}
	return f.Sync()
}

// Blob opens a blob for reading. Its size is checked if it was recorded, its
// content is not: read it through digest.NewReader.
func (c *Cache) Blob(d digest.Digest) (*os.File, error) {
	f, err := c.openBlob(d)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("blob %s: %w", d, ErrMissing)
	}
	if err != nil {
		return nil, fmt.Errorf("opening blob %s in %s: %w", d, c.path, err)
	}
	if err := checkBlob(f); err != nil {
		f.Close()
		return nil, fmt.Errorf("blob %s: %w: %w", d, ErrMissing, err)
	}
	return f, nil
}

func (c *Cache) openBlob(d digest.Digest) (*os.File, error) {
	if _, err := digest.Parse(string(d)); err != nil {
		return nil, err
	}
	return c.open(blobPath(d))
}

// checkBlob returns what can be seen to be wrong with a blob without reading it.
func checkBlob(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return errors.New("it is not a regular file")
	}
	var value [20]byte
	n, err := unix.Fgetxattr(int(f.Fd()), sizeAttribute, value[:])
	if err != nil {
		return nil // Not recorded.
	}
	if recorded := string(value[:n]); recorded != strconv.FormatInt(info.Size(), 10) {
		return fmt.Errorf("it has %d bytes instead of %s", info.Size(), recorded)
	}
	return nil
}

// blobPath is only for digests that were parsed.
func blobPath(d digest.Digest) string {
	return blobsDir + "/" + d.Algorithm() + "/" + d.Hex()
}

// copyTo is io.Copy that stops when ctx ends, and takes bigger steps.
func copyTo(ctx context.Context, w io.Writer, r io.Reader) (n int64, err error) {
	buf := make([]byte, 256<<10)
	for {
		if err := ctx.Err(); err != nil {
			return n, err
		}
		m, err := r.Read(buf)
		if m > 0 {
			if _, err := w.Write(buf[:m]); err != nil {
				return n, err
			}
			n += int64(m)
		}
		if err == io.EOF {
			return n, nil
		}
		if err != nil {
			return n, err
		}
	}
}
