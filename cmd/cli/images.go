package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/umiak/umiak/cache"
	"github.com/umiak/umiak/cache/digest"
	"github.com/umiak/umiak/cmd/term"
	"github.com/umiak/umiak/image"
	"github.com/umiak/umiak/image/pull"
)

func (a *App) imagesCommand() *cobra.Command {
	var quiet bool
	c := &cobra.Command{
		Use:   "images",
		Short: "List the images in the cache",
		Example: `  umiak images
  umiak images -q       digests only`,
		Args: wantArgs(0, 0, "no argument"),
		RunE: func(*cobra.Command, []string) error {
			entries, err := a.entries()
			if err != nil {
				return err
			}
			if quiet {
				for _, e := range entries {
					if _, err := fmt.Fprintln(a.Out, e.Digest); err != nil {
						return err
					}
				}
				return nil
			}
			return a.imageTable(entries, time.Now())
		},
	}
	c.Flags().BoolVarP(&quiet, "quiet", "q", false, "print only the digests")
	return c
}

func (a *App) imageTable(entries []pull.Entry, now time.Time) error {
	rows := [][]string{{"IMAGE", "PLATFORM", "DIGEST", "SIZE", "PULLED"}}
	for _, e := range entries {
		rows = append(rows, []string{e.Reference.Familiar(), e.Platform.String(), e.Digest.Short(), sizeText(e.Size), agoText(now.Sub(e.Pulled))})
	}
	return term.Table(a.Out, rows)
}

// entries lists the cache by name. A cache that does not exist yet is an empty one.
func (a *App) entries() ([]pull.Entry, error) {
	c, err := a.existingCache()
	if errors.Is(err, cache.ErrMissing) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer c.Close()
	entries, err := pull.List(c)
	slices.SortStableFunc(entries, func(x, y pull.Entry) int {
		return cmp.Or(strings.Compare(x.Reference.String(), y.Reference.String()), strings.Compare(x.Platform.String(), y.Platform.String()))
	})
	return entries, err
}

// completeImages offers the names in the cache to the shell.
func (a *App) completeImages(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveDefault
	}
	entries, err := a.entries()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Reference.Familiar())
	}
	return slices.Compact(names), cobra.ShellCompDirectiveNoFileComp
}

func (a *App) rmiCommand() *cobra.Command {
	o := &fetchOptions{app: a}
	c := &cobra.Command{
		Use:   "rmi [flags] IMAGE...",
		Short: "Remove images from the cache",
		Long: `Remove images from the cache: their names, and what no other image shares with
them. A container that runs keeps its files until it ends.`,
		Example: `  umiak rmi alpine
  umiak rmi --platform linux/arm64 alpine:3.20`,
		Args:              wantArgs(1, -1, "an image to remove"),
		ValidArgsFunction: a.completeImages,
		RunE: func(c *cobra.Command, args []string) error {
			return a.removeImages(c, o.platform.value, args)
		},
	}
	o.addPlatform(c.Flags())
	c.Flags().Lookup("platform").Usage = "remove only the image for `OS/ARCH[/VARIANT]` (default: every platform's)"
	return c
}

// removeImages removes all that it can, says which it could not, and ends with the last of those.
func (a *App) removeImages(c *cobra.Command, p image.Platform, names []string) error {
	ca, err := a.existingCache()
	if errors.Is(err, cache.ErrMissing) {
		return hinted(fmt.Errorf("image %s is %w", names[0], pull.ErrNotCached), "'umiak images' lists what is there")
	}
	if err != nil {
		return err
	}
	defer ca.Close()
	var failed []error
	slices.Sort(names) // 'images -q' prints the digest of two tags of one image twice
	for _, name := range slices.Compact(names) {
		if err := a.removeImage(c.Context(), ca, name, p); err != nil {
			failed = append(failed, err)
		}
	}
	if len(failed) == 0 {
		return nil
	}
	last := len(failed) - 1
	for _, err := range failed[:last] {
		a.say("error", err.Error())
	}
	return failed[last]
}

func (a *App) removeImage(ctx context.Context, ca *cache.Cache, name string, p image.Platform) error {
	shown, freed, err := forget(ctx, ca, name, p)
	switch {
	case errors.Is(err, cache.ErrBusy):
		a.say("warning", shown+" is forgotten; its files go when no other umiak is pulling")
		return nil
	case errors.Is(err, pull.ErrNotCached):
		return hinted(err, "'umiak images' lists what is there")
	case err != nil:
		return err
	}
	fmt.Fprintf(a.Err, "%s: removed, %s freed\n", shown, sizeText(freed))
	return nil
}

// forget removes an image by its name, or by the digest that 'images -q' prints.
func forget(ctx context.Context, ca *cache.Cache, name string, p image.Platform) (shown string, freed int64, err error) {
	if d, err := digest.Parse(name); err == nil {
		freed, err = pull.RemoveDigest(ctx, ca, d, p)
		return name, freed, err
	}
	ref, err := image.Parse(name)
	if err != nil {
		return name, 0, err
	}
	freed, err = pull.Remove(ctx, ca, ref, p)
	return ref.Familiar(), freed, err
}
