package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/umiak/umiak/cache"
	"github.com/umiak/umiak/image"
	"github.com/umiak/umiak/image/pull"
	"github.com/umiak/umiak/unpack/manifest"
)

// statusDiffers is verify's exit status, as cmp(1) and diff(1) have it.
const statusDiffers = 1

func (a *App) verifyCommand() *cobra.Command {
	o := &verifyOptions{fetchOptions: fetchOptions{app: a}}
	c := &cobra.Command{
		Use:   "verify [flags] IMAGE...",
		Short: "Check that cached images are as they were unpacked",
		Long: `Read all that the cache has unpacked of an image, and compare it with what was written
down when it was unpacked: names, types, modes, owners, contents, targets of links,
extended attributes, times and device numbers. What differs is a line each on standard
output. Only the cache is asked, and nothing in it is changed, unless --repair is given.

Exit status: 0 if all is as it was, 1 if something differs, 125 if that could not be
found out. With --repair it is 0 if the image is in order in the end.`,
		Example: `  umiak verify alpine
  umiak verify --repair alpine:3.20 debian`,
		Args:              wantArgs(1, -1, "an image to verify"),
		ValidArgsFunction: a.completeImages,
		RunE:              func(c *cobra.Command, args []string) error { return o.verifyAll(c.Context(), args) },
	}
	o.addPlatform(c.Flags())
	f := c.Flags()
	f.BoolVar(&o.repair, "repair", false, "unpack anew what differs; layers that are missing or damaged are fetched")
	f.BoolVar(&o.offline, "offline", false, "open no socket: repair from the cache alone")
	f.BoolVarP(&o.quiet, "quiet", "q", false, "say nothing on standard error but errors")
	return c
}

type verifyOptions struct {
	fetchOptions
	repair bool
}

// verifyAll goes on after an image that is not in order; the worst of them is the exit status.
func (o *verifyOptions) verifyAll(ctx context.Context, names []string) error {
	worst := 0
	for _, name := range names {
		prefix := ""
		if len(names) > 1 {
			prefix = name + ": " // as grep(1) does
		}
		differs, err := o.verify(ctx, name, prefix)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil:
			worst = max(worst, o.app.fail(err))
		case differs:
			worst = max(worst, statusDiffers)
		}
	}
	if worst != 0 {
		return status(worst)
	}
	return nil
}

func (o *verifyOptions) verify(ctx context.Context, name, prefix string) (differs bool, err error) {
	ref, err := image.Parse(name)
	if err != nil {
		return false, err
	}
	p, err := o.wanted()
	if err != nil {
		return false, err
	}
	c, err := o.app.existingCache()
	if errors.Is(err, cache.ErrMissing) {
		return false, fmt.Errorf("image %s for %s is %w", ref.Familiar(), p, pull.ErrNotCached)
	}
	if err != nil {
		return false, err
	}
	defer c.Close()
	n, werr := 0, error(nil)
	err = pull.Verify(ctx, c, ref, p, func(d manifest.Difference) {
		n++
		if werr == nil {
			_, werr = fmt.Fprintf(o.app.Out, "%s%s\n", prefix, d)
		}
	})
	switch {
	case werr != nil:
		return true, output125(werr)
	case o.repair && (errors.Is(err, pull.ErrUnverifiable) || err == nil && n > 0):
		return false, o.mend(ctx, c, ref, p)
	case errors.Is(err, pull.ErrUnverifiable):
		return false, hinted(err, "umiak verify --repair "+name+" unpacks it anew")
	case err != nil:
		return false, err
	}
	o.sum(ref, n)
	return n > 0, nil
}

func (o *verifyOptions) sum(ref image.Reference, differences int) {
	switch {
	case o.quiet:
	case differences == 0:
		fmt.Fprintf(o.app.Err, "%s: as it was unpacked\n", ref.Familiar())
	case differences == 1:
		fmt.Fprintf(o.app.Err, "%s: 1 difference\n", ref.Familiar())
	default:
		fmt.Fprintf(o.app.Err, "%s: %d differences\n", ref.Familiar(), differences)
	}
}

func (o *verifyOptions) mend(ctx context.Context, c *cache.Cache, ref image.Reference, p image.Platform) error {
	if err := needRoot(); err != nil {
		return err
	}
	po := pull.Options{Cache: c, Platform: p, Meter: &pull.Meter{}}
	if !o.offline {
		po.Source = o.app.registry()
	}
	stop := o.app.showProgress(po.Meter, ref.Familiar(), o.quiet)
	err := pull.Repair(ctx, ref, po)
	stop()
	if errors.Is(err, cache.ErrBusy) {
		return hinted(err, "a container of that image runs: repair it when it has ended")
	}
	if err == nil && !o.quiet {
		fmt.Fprintf(o.app.Err, "%s: repaired\n", ref.Familiar())
	}
	return err
}
