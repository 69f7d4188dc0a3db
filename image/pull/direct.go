package pull

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

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
	var layers []unpack.Layer
	for _, l := range img.Layers {
		o.Meter.expect(l.Size)
		layers = append(layers, unpack.Layer{
			Name:   l.Digest.String(),
			Open:   func(ctx context.Context) (io.ReadCloser, error) { return openDirect(ctx, img, l, o) },
			Verify: newDiffID(l.DiffID, o.Meter),
		})
	}
	o.Meter.expectLayers(len(layers))
	o.Meter.enter(PhaseDownloading)
	if _, err := unpack.Flatten(ctx, rootfs, layers, unpack.Options{}); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return fmt.Errorf("image %s: %w", img.Reference.Familiar(), err)
	}
	o.Meter.enter(PhaseDone)
	return nil
}

func openDirect(ctx context.Context, img *image.Image, l image.Layer, o Options) (io.ReadCloser, error) {
	rc, err := o.Source.Open(ctx, img.Reference, l)
	if err != nil {
		return nil, err
	}
	return &direct{Reader: digest.NewReader(&metered{rc, o.Meter}, l.Digest, l.Size), Closer: rc, ctx: ctx}, nil
}

// A direct is a layer on its way from the source to the unpacker.
type direct struct {
	io.Reader
	io.Closer
	ctx   context.Context
	ended bool
}

func (d *direct) Read(p []byte) (int, error) {
	n, err := d.Reader.Read(p)
	d.ended = d.ended || err != nil
	return n, err
}

// Close reads what the decompressor has left, for only at the end a digest is known. If the
// decompressor has failed, this tells whether it was the layer's fault.
func (d *direct) Close() error {
	var err error
	if !d.ended && d.ctx.Err() == nil {
		_, err = io.Copy(io.Discard, d.Reader)
	}
	return errors.Join(err, d.Closer.Close())
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
