package pull

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/umiak/umiak/cache/digest"
	"github.com/umiak/umiak/image"
	"github.com/umiak/umiak/unpack"
)

// Unpack flattens an image into an empty directory of the caller's, straight from o.Source.
// Nothing is kept: o.Cache is not used. What is in the directory is only good if there is no error,
// since layers are verified while they are being written.
func Unpack(ctx context.Context, img *image.Image, o Options, rootfs *os.File) error {
	if o.Source == nil {
		return fmt.Errorf("image %s is %w", img.Reference.Familiar(), ErrNotCached)
	}
	u := &direct{Options: o, img: img}
	var layers []unpack.Layer
	for _, l := range img.Layers {
		o.Meter.expect(l.Size)
		layers = append(layers, unpack.Layer{
			Name:   l.Digest.String(),
			Open:   func(ctx context.Context) (io.ReadCloser, error) { return u.open(ctx, l) },
			Verify: newDiffID(l.DiffID, o.Meter),
		})
	}
	o.Meter.expectLayers(len(layers))
	o.Meter.enter(PhaseDownloading)
	_, err := unpack.Flatten(ctx, rootfs, layers, unpack.Options{})
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil && u.damaged != nil:
		err = fmt.Errorf("layer: %w", u.damaged) // what the decompressor made of it follows from that
	}
	if err != nil {
		return fmt.Errorf("image %s: %w", img.Reference.Familiar(), err)
	}
	o.Meter.enter(PhaseDone)
	return nil
}

// A direct is an image on its way from the source to the unpacker.
type direct struct {
	Options
	img     *image.Image
	mu      sync.Mutex
	damaged error // the first layer that is not what its digest says
}

func (u *direct) open(ctx context.Context, l image.Layer) (io.ReadCloser, error) {
	rc, err := u.Source.Open(ctx, u.img.Reference, l)
	if err != nil {
		return nil, err
	}
	return &transit{Reader: digest.NewReader(&metered{rc, u.Meter}, l.Digest, l.Size), Closer: rc, ctx: ctx, image: u}, nil
}

// A transit is one of its layers.
type transit struct {
	io.Reader
	io.Closer
	ctx   context.Context
	image *direct
	err   error
}

func (t *transit) Read(p []byte) (int, error) {
	n, err := t.Reader.Read(p)
	t.err = err
	return n, err
}

// Close reads what the decompressor has left, for only at the end a digest is known. If the
// decompressor has failed, this tells whether it was the layer's fault.
func (t *transit) Close() error {
	var err error
	if t.err == nil && t.ctx.Err() == nil {
		_, err = io.Copy(io.Discard, t)
	}
	if errors.Is(t.err, digest.ErrMismatch) {
		t.image.mu.Lock()
		t.image.damaged = cmp.Or(t.image.damaged, t.err)
		t.image.mu.Unlock()
	}
	return errors.Join(err, t.Closer.Close())
}

type metered struct {
	io.Reader
	meter *Meter
}

func (m *metered) Read(p []byte) (int, error) {
	n, err := m.Reader.Read(p)
	m.meter.add(int64(n))
	return n, err
}
