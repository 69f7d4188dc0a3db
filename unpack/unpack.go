// Package unpack flattens the layers of an image, oldest first, into one directory tree.
//
// What it promises: the tree is what overlayfs would show of the same layers mounted one over the other; nothing outside
// the given directory is read or changed, whatever the layers hold; every layer is read to its end, so that a reader which checks a
// digest there has its say; memory is bounded by Options and does not grow with the size of files. The same layers give
// the same tree, times included. What it does not promise: that anything of use is left in the directory when it
// fails. Callers fill a temporary one and rename it.
//
// The rules, where the image-spec (layer.md) leaves room:
//
//   - A whiteout or an opaque marker hides what lower layers brought and nothing of its own layer, wherever in the stream it stands.
//     Its name is what counts, not its type. Removing what is not there is no error, and creates no parents.
//   - Parents are resolved as in a chroot, through links of this layer or a lower one; the last component is never followed.
//   - A directory over a directory keeps its children and takes the new attributes; anything else replaces what was there.
//   - Within a layer the last entry of a name wins.
//   - A parent without an entry of its own keeps what a lower layer gave it, or is 0755 0:0 of 1970. A lower file in its place goes.
//   - A hard link's target must be there already, in this layer or below; the attributes of the link's entry are not looked at.
//   - Overlayfs's own attributes (trusted.overlay.*, user.overlay.*) are dropped, since the tree will be a lower layer of one, as is all of
//     security.* but security.capability: labels belong to the host's policy.
//
// An engine keeps the tree's names in memory and decides which entry survives; a sink writes. The engine touches no disk. One
// goroutine runs it; before it layers are read, decompressed and checked ahead, after it files are written, by others:
//
//	layer ─ decompress ─┬─ blocks of 1 MiB ─ archive/tar ─ engine ─┬─ names, in order
//	(several at once)   └─ Verify                                  └─ files: writers, without a copy
package unpack

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/umiak/umiak/unpack/rootfs"
)

// Layer is one layer of an image.
type Layer struct {
	Name string // for messages: the digest
	// Open gives the layer's tar, compressed or not. It may be called while layers before this one are still being unpacked. It
	// and the reader must fail when the context ends. An error of the reader at its end fails the unpacking.
	Open func(context.Context) (io.ReadCloser, error)
	// Verify, if there is one, is written the uncompressed tar, in a goroutine of its own, and then closed: the place to check a
	// digest. An error of either call fails the unpacking.
	Verify io.WriteCloser
}

// Options bounds what an image may cost. A zero field stands for the default.
type Options struct {
	MaxEntries    int64 // entries of all layers: memory, about 150 bytes each. 2 Mi
	MaxBytes      int64 // uncompressed bytes of all layers, and of the files in them when holes are filled. 256 GiB
	MaxPath       int64 // bytes of a path or of a link's target. 4095, all that the kernel takes
	MaxDepth      int64 // directories above one another: one descriptor each when a tree is removed. 512
	MaxXattrBytes int64 // names and values of extended attributes of all entries. 64 MiB

	LibraryGzip bool // decompress gzip with klauspost/compress, should our own decoder ever be in doubt
}

// Stats says what was done.
type Stats struct {
	Entries       int64 // in all layers, whiteouts included
	Bytes         int64 // of file contents
	SkippedXattrs int   // extended attributes dropped, or refused by the file system or for lack of privilege
}

// ErrUnsafe is wrapped by errors about entries that no honest tool makes.
var ErrUnsafe = errors.New("refused as unsafe")

// LimitError says which of Options' limits an image exceeds.
type LimitError struct {
	Limit string // name of the field
	What  string
	Max   int64
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("more than %d %s (limit %s)", e.Max, e.What, e.Limit)
}

// Flatten unpacks layers into root, an empty directory, which takes on the attributes of the image's own root.
func Flatten(ctx context.Context, root *os.File, layers []Layer, opts Options) (Stats, error) {
	dir, err := rootfs.New(root)
	if err != nil {
		return Stats{}, err
	}
	defer dir.Close()
	if err := dir.Prepare(); err != nil {
		return Stats{}, err
	}
	to := newWriters(dir, workers())
	defer to.close()
	stats, err := flatten(ctx, to, layers, opts)
	stats.SkippedXattrs += dir.SkippedXattrs()
	return stats, err
}

func flatten(ctx context.Context, to sink, layers []Layer, opts Options) (Stats, error) {
	e := newEngine(to, opts.withDefaults())
	ahead := newStreams(ctx, layers, opts)
	defer ahead.stop()
	for i, l := range layers {
		if err := e.unpackLayer(ctx, ahead.stream(i)); err != nil {
			return e.stats, fmt.Errorf("unpacking layer %s: %w", l.Name, err)
		}
		e.layer++
	}
	if err := e.finish(e.root, ""); err != nil {
		return e.stats, fmt.Errorf("unpacking: %w", err)
	}
	return e.stats, nil
}

func (e *engine) unpackLayer(ctx context.Context, s *stream) error {
	src := &source{ctx: ctx, stream: s}
	r := e.limits.reader(src)
	err := e.unpackTar(ctx, tar.NewReader(r), src)
	// What went wrong in what the sink had put off came first.
	if ferr := e.sink.Flush(); ferr != nil {
		return ferr
	}
	if err != nil {
		return err
	}
	// What follows the end of the archive is padding, as a rule. It must be read: only at its end is it known to be the right one.
	if _, err := io.Copy(io.Discard, r); err != nil {
		return err
	}
	return s.verified()
}

func (e *engine) unpackTar(ctx context.Context, tr *tar.Reader, src *source) error {
	for {
		h, err := tr.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading tar: %w", err)
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := e.apply(h, newContents(h, tr, src)); err != nil {
			return fmt.Errorf("entry %s: %w", quote(h.Name), err)
		}
	}
}
