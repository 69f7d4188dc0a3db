package pull

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/umiak/umiak/cache/digest"
	"github.com/umiak/umiak/image"
	"github.com/umiak/umiak/unpack"
)

// parallel is how many layers are on their way at once: docker's number, and what
// registries are used to.
const parallel = 4

// A builder makes one root: workers fetch layers into the cache, and each layer is
// unpacked as soon as it and all below it are there.
type builder struct {
	*puller
	img    *image.Image
	blobs  []*blob
	cancel context.CancelCauseFunc
	err    error
}

// A blob is a layer to be fetched; a layer listed twice is one blob.
type blob struct {
	image.Layer
	counted bool          // part of the meter's total
	ready   chan struct{} // closed when it is in the cache or never will be
	err     error
}

// build fills an empty root directory, and writes down with what.
func (b *builder) build(ctx context.Context, dir *os.File) error {
	rootfs, err := makeDir(dir, RootFS)
	if err == nil {
		defer rootfs.Close()
		err = b.run(ctx, rootfs)
	}
	if err == nil {
		err = writeManifest(ctx, dir, rootfs)
	}
	b.err = err
	return err
}

// Flatten flattens an image into an empty directory of the caller's: another copy of what Pull
// leases. Layers come from the cache, and from o.Source where they are missing there.
func Flatten(ctx context.Context, img *image.Image, o Options, rootfs *os.File) error {
	done, err := o.Cache.Writing(ctx)
	if err != nil {
		return err
	}
	defer done()
	b := &builder{puller: &puller{Options: o, ref: img.Reference}, img: img}
	return b.run(ctx, rootfs)
}

func (b *builder) run(ctx context.Context, rootfs *os.File) error {
	ctx, b.cancel = context.WithCancelCause(ctx)
	defer b.cancel(nil)
	layers := b.plan()

	b.Meter.enter(PhaseDownloading)
	var workers sync.WaitGroup
	var next atomic.Int64
	for range min(parallel, len(b.blobs)) {
		workers.Go(func() {
			for i := next.Add(1) - 1; int(i) < len(b.blobs); i = next.Add(1) - 1 {
				b.fetch(ctx, b.blobs[i])
			}
		})
	}
	_, err := unpack.Flatten(ctx, rootfs, layers, unpack.Options{})
	if err != nil {
		b.cancel(fmt.Errorf("image %s: %w", b.ref.Familiar(), err))
	}
	workers.Wait()
	if err != nil {
		return context.Cause(ctx) // the first failure, of which the others follow
	}
	return nil
}

// plan lists the blobs, each once, and the layers, in order.
func (b *builder) plan() []unpack.Layer {
	var layers []unpack.Layer
	byDigest := make(map[digest.Digest]*blob)
	for _, l := range b.img.Layers {
		bl := byDigest[l.Digest]
		if bl == nil {
			bl = &blob{Layer: l, ready: make(chan struct{})}
			byDigest[l.Digest] = bl
			b.blobs = append(b.blobs, bl)
			if f, err := b.Cache.Blob(l.Digest); err == nil {
				f.Close()
			} else {
				bl.counted = true
				b.Meter.expect(l.Size)
			}
		}
		layers = append(layers, unpack.Layer{
			Name:   l.Digest.String(),
			Open:   func(ctx context.Context) (io.ReadCloser, error) { return b.open(ctx, bl) },
			Verify: newDiffID(l.DiffID, b.Meter),
		})
	}
	b.Meter.expectLayers(len(layers))
	return layers
}

// fetch sees to it that a blob is in the cache. Bytes that are not those promised
// were often damaged on their way, so they get a second chance.
func (b *builder) fetch(ctx context.Context, bl *blob) {
	defer close(bl.ready)
	if bl.err = context.Cause(ctx); bl.err != nil {
		return
	}
	received, err := b.put(ctx, bl)
	if errors.Is(err, digest.ErrMismatch) && received > 0 {
		b.Meter.expect(received) // again
		_, err = b.put(ctx, bl)
	}
	if err != nil {
		bl.err = err
		b.cancel(err)
	}
}

func (b *builder) put(ctx context.Context, bl *blob) (received int64, err error) {
	in := &counter{builder: b} // also of what went wrong on the way here; the cache's message is about storing
	err = b.Cache.Put(ctx, bl.Digest, bl.Size, func(ctx context.Context) (io.ReadCloser, error) {
		if b.Source == nil {
			in.failed = fmt.Errorf("image %s is %w: layer %s is missing or damaged", b.ref.Familiar(), ErrNotCached, bl.Digest)
			return nil, in.failed
		}
		in.opened = true
		if !bl.counted {
			bl.counted = true
			b.Meter.expect(bl.Size)
		}
		b.asked.Store(true)
		in.ReadCloser, in.failed = b.Source.Open(ctx, b.ref, bl.Layer)
		return in, in.failed
	})
	switch inner := errors.Unwrap(err); {
	case err == nil && in.opened:
		b.stored.Store(true)
	case err == nil && bl.counted:
		b.Meter.add(bl.Size) // somebody else fetched it while we waited
	case in.failed != nil && err != nil:
		err = in.failed
	case errors.Is(inner, digest.ErrMismatch):
		err = fmt.Errorf("image %s: layer: %w", b.ref.Familiar(), inner)
	}
	return in.received, err
}

// counter counts what comes in, as it travels: only of that is the total known.
type counter struct {
	io.ReadCloser
	builder  *builder
	opened   bool
	received int64
	failed   error
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	c.received += int64(n)
	c.builder.received.Add(int64(n))
	c.builder.Meter.add(int64(n))
	if err != nil && err != io.EOF {
		c.failed = err
	}
	return n, err
}

// open waits for a blob and returns what is in it.
func (b *builder) open(ctx context.Context, bl *blob) (io.ReadCloser, error) {
	select {
	case <-bl.ready:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	if bl.err != nil {
		return nil, bl.err
	}
	if b.last(bl) {
		b.Meter.enter(PhaseUnpacking)
	}
	f, err := b.Cache.Blob(bl.Digest)
	if err != nil {
		return nil, err
	}
	return &cancellable{ctx, f}, nil
}

// last tells whether all is downloaded.
func (b *builder) last(bl *blob) bool { return bl == b.blobs[len(b.blobs)-1] }

// cancellable ends reading when nobody wants the result any more.
type cancellable struct {
	ctx context.Context
	*os.File
}

func (c *cancellable) Read(p []byte) (int, error) {
	if c.ctx.Err() != nil {
		return 0, context.Cause(c.ctx)
	}
	return c.File.Read(p)
}

// makeDir makes a directory below dir and opens it, by descriptor.
func makeDir(dir *os.File, name string) (*os.File, error) {
	if err := syscall.Mkdirat(int(dir.Fd()), name, 0o755); err != nil {
		return nil, &os.PathError{Op: "mkdirat", Path: name, Err: err}
	}
	return openIn(dir, name, syscall.O_RDONLY|syscall.O_DIRECTORY)
}
