// Package pull turns a reference into a leased root. It is the only place where
// images, the cache and unpacking meet.
//
// It promises that what it returns is whole: every layer was checked against its
// digest and its diffID, and the root is leased, so that nobody removes it. An
// image that is in the cache is returned without a word to the network. However
// many processes want the same image, each layer is downloaded once.
package pull

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/umiak/umiak/cache"
	"github.com/umiak/umiak/cache/digest"
	"github.com/umiak/umiak/image"
)

// RootFS is where in a root the image's tree is; what else is there is umiak's.
const RootFS = "rootfs"

// format is part of a root's id. It changes when the same layers would be unpacked
// to another tree, so that roots of the old kind are not found any more.
const format = "v1"

// ErrNotCached says that an image would have to be fetched, and may not be.
var ErrNotCached = errors.New("not in the cache")

// Options say what to pull with.
type Options struct {
	Cache    *cache.Cache
	Source   image.Source   // nil is offline
	Platform image.Platform // the zero value is this machine's
	Always   bool           // ask the source, if there is one, even if the image is in the cache
	Never    bool           // the same as no source
	Meter    *Meter         // may be nil
}

// A Result is an image ready to run. Closing Root gives up the lease.
type Result struct {
	Image  *image.Image
	Root   *cache.Root
	Pulled bool  // the source was asked
	Bytes  int64 // received from it, layers only
}

// Pull returns the image that ref names.
func Pull(ctx context.Context, ref image.Reference, o Options) (*Result, error) {
	if o.Platform == (image.Platform{}) {
		o.Platform = image.HostPlatform()
	}
	if o.Never {
		o.Source = nil
	}
	p := &puller{Options: o, ref: ref}
	if !o.Always || o.Source == nil {
		img, root, err := p.warm(ctx)
		if err == nil {
			o.Meter.enter(PhaseDone)
			return &Result{Image: img, Root: root}, nil
		}
		if !errors.Is(err, cache.ErrMissing) {
			return nil, err
		}
	}
	img, root, err := p.cold(ctx)
	if err != nil {
		return nil, err
	}
	o.Meter.enter(PhaseDone)
	return &Result{Image: img, Root: root, Pulled: p.asked.Load(), Bytes: p.received.Load()}, nil
}

type puller struct {
	Options
	ref      image.Reference
	asked    atomic.Bool
	stored   atomic.Bool // a layer that was not there before
	garbage  atomic.Bool // something in the cache may have no name any more
	received atomic.Int64
}

// warm is the path of nearly every run: two small reads and a shared lock.
func (p *puller) warm(ctx context.Context) (*image.Image, *cache.Root, error) {
	rec, err := load(p.Cache, p.ref, p.Platform)
	if err != nil {
		return nil, nil, err
	}
	root, err := p.Cache.Lease(rootID(rec.img))
	if err != nil {
		return nil, nil, err
	}
	// Somebody may have tidied up by hand.
	if info, err := os.Lstat(filepath.Join(root.Path(), RootFS)); err != nil || !info.IsDir() {
		root.Close()
		if err := p.Cache.Discard(ctx, root.ID()); err != nil {
			return nil, nil, err
		}
		return nil, nil, fmt.Errorf("root %s: %w: it has no %s", root.ID(), cache.ErrMissing, RootFS)
	}
	return rec.img, root, nil
}

// tidyTime is for how long a pull removes what it has made superfluous. The rest
// is for the next who collects.
const tidyTime = 10 * time.Second

// cold makes what is missing, and takes away what it has left without a name: all
// that it fetched if it failed, the old image if a tag has moved.
//
// Whoever adds to the cache relies on what is there, named or not. So that is done
// only if nobody does, which Collect finds out without waiting; else the last of
// them does it, or whoever removes an image.
func (p *puller) cold(ctx context.Context) (*image.Image, *cache.Root, error) {
	img, root, err := p.fill(ctx)
	if !p.garbage.Load() {
		return img, root, err
	}
	if ctx.Err() != nil {
		ctx = context.WithoutCancel(ctx) // who interrupts a pull doesn't want to keep half of it
	}
	ctx, cancel := context.WithTimeout(ctx, tidyTime)
	defer cancel()
	// Garbage that stays is no reason to fail.
	_, _ = Collect(ctx, p.Cache)
	return img, root, err
}

// fill is cold without the tidying. Nothing is collected meanwhile.
func (p *puller) fill(ctx context.Context) (*image.Image, *cache.Root, error) {
	done, err := p.Cache.Writing(ctx)
	if err != nil {
		return nil, nil, err
	}
	defer done()
	img, fresh, err := p.find(ctx)
	if err != nil {
		return nil, nil, err
	}
	root, err := p.root(ctx, img)
	if err != nil {
		p.garbage.Store(p.stored.Load())
		return nil, nil, err
	}
	if fresh {
		p.garbage.Store(moved(p.Cache, p.Platform, img))
		// Last, so that a reference that is there names something whole.
		if err := store(p.Cache, p.Platform, img, time.Now()); err != nil {
			p.garbage.Store(true)
			return nil, nil, errors.Join(err, root.Close())
		}
	}
	return img, root, nil
}

// find describes the image: from the cache if that may be, else from the source.
func (p *puller) find(ctx context.Context) (img *image.Image, fresh bool, err error) {
	if !p.Always || p.Source == nil {
		rec, err := load(p.Cache, p.ref, p.Platform)
		if err == nil {
			return rec.img, false, nil
		}
		if !errors.Is(err, cache.ErrMissing) {
			return nil, false, err
		}
	}
	if p.Source == nil {
		return nil, false, fmt.Errorf("image %s for %s is %w", p.ref.Familiar(), p.Platform, ErrNotCached)
	}
	p.Meter.enter(PhaseResolving)
	p.asked.Store(true)
	img, err = p.Source.Resolve(ctx, p.ref, p.Platform)
	return img, true, err
}

// root leases the image's root, after making it if need be.
func (p *puller) root(ctx context.Context, img *image.Image) (*cache.Root, error) {
	p.Meter.enter(PhaseWaiting) // for whoever makes the same root
	b := &builder{puller: p, img: img}
	root, err := p.Cache.Root(ctx, rootID(img), b.build)
	if b.err != nil {
		return nil, b.err // it says what the cache would only wrap
	}
	return root, err
}

// rootID names the tree that an image's layers make, whichever image has them.
func rootID(img *image.Image) string {
	chain := []byte(format)
	for _, l := range img.Layers {
		chain = append(append(chain, '\n'), l.DiffID...)
	}
	return format + "-" + digest.FromBytes(chain).Hex()
}
