package cli

import (
	"fmt"

	"github.com/spf13/cobra"
)

func (a *App) pullCommand() *cobra.Command {
	o := &fetchOptions{app: a, policy: "always"}
	c := &cobra.Command{
		Use:   "pull [flags] IMAGE",
		Short: "Fetch an image into the cache",
		Long: `Fetch an image into the cache, verify it and flatten its layers. What the cache
has already is not fetched again. The image's digest is the last line on standard
output; progress goes to standard error.`,
		Example: `  umiak pull alpine
  umiak pull --platform linux/arm64 alpine:3.20
  umiak run $(umiak pull -q alpine | sed 's/^/alpine@/') true`,
		Args: wantArgs(1, 1, "an image to pull"),
		RunE: func(c *cobra.Command, args []string) error {
			img, err := o.fetch(c.Context(), args[0])
			if err != nil {
				return err
			}
			defer img.Close()
			_, err = fmt.Fprintln(a.Out, img.Image.Digest)
			return output125(err)
		},
	}
	o.addPlatform(c.Flags())
	c.Flags().BoolVarP(&o.quiet, "quiet", "q", false, "show no progress")
	return c
}
