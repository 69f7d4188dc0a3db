package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/umiak/umiak/image/pull"
)

func (a *App) bundleCommand() *cobra.Command {
	o := &runOptions{fetchOptions: fetchOptions{app: a}}
	c := &cobra.Command{
		Use:   "bundle [flags] IMAGE DIR [COMMAND [ARG...]]",
		Short: "Write an OCI bundle of an image for any runtime",
		Long: `Write an OCI bundle into DIR: the image's files as DIR/rootfs, and DIR/config.json,
which says what 'umiak run' with the same flags would run. Any OCI runtime takes it:
'runc run --bundle DIR NAME'. DIR must not exist or be empty.`,
		Example: `  umiak bundle alpine /tmp/alpine sh
  runc run --bundle /tmp/alpine box`,
		Args: wantArgs(2, -1, "an image and a directory"),
		RunE: func(c *cobra.Command, args []string) error {
			return o.bundle(c.Context(), args[0], args[1], args[2:])
		},
	}
	o.addFlags(c.Flags())
	c.Flags().SetInterspersed(false)
	for _, name := range []string{"dry-run", "explain", "rootfs", "report", "status-file", "cidfile", "pidfile"} {
		_ = c.Flags().MarkHidden(name)
	}
	return c
}

// bundle makes the directory whole or not at all.
func (o *runOptions) bundle(ctx context.Context, name, dir string, args []string) (err error) {
	if o.rootfs {
		return errors.New("--rootfs: a bundle is made of an image")
	}
	if err := o.check(); err != nil {
		return err
	}
	p := &prepared{options: o, id: o.runID()}
	if err := p.preflight(); err != nil {
		return err
	}
	if err := p.obtain(ctx, name); err != nil {
		return err
	}
	defer p.close()
	if err := p.describe(args); err != nil {
		return err
	}
	made, err := emptyDir(dir)
	if err != nil {
		return err
	}
	if err := p.fillBundle(ctx, dir); err != nil {
		return errors.Join(err, clearDir(dir, made))
	}
	return nil
}

// fillBundle writes the root, the spec, and the files that the spec mounts.
func (p *prepared) fillBundle(ctx context.Context, dir string) error {
	rootfs := filepath.Join(dir, "rootfs")
	if err := os.Mkdir(rootfs, 0o755); err != nil {
		return err
	}
	f, err := os.Open(rootfs)
	if err != nil {
		return err
	}
	defer f.Close()
	po := pull.Options{Cache: p.cache}
	if !p.options.offline {
		po.Source = p.options.app.registry()
	}
	if err := pull.Flatten(ctx, p.result.Image, po, f); err != nil {
		return err
	}
	for i, m := range p.spec.Mounts { // sources in a bundle may be relative to it
		if filepath.Dir(m.Source) == p.stateDir() {
			p.spec.Mounts[i].Source = filepath.Base(m.Source)
		}
	}
	p.spec.Root.Path = "rootfs"
	config, err := json.MarshalIndent(p.spec, "", "  ")
	if err != nil {
		return err
	}
	p.content["config.json"] = string(config) + "\n"
	for name, content := range p.content {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// emptyDir makes a directory, or finds that it is empty.
func emptyDir(dir string) (made bool, err error) {
	err = os.Mkdir(dir, 0o755)
	if err == nil || !errors.Is(err, os.ErrExist) {
		return err == nil, err
	}
	f, err := os.Open(dir)
	if err != nil {
		return false, err
	}
	defer f.Close()
	if _, err := f.Readdirnames(1); err != io.EOF {
		return false, hinted(fmt.Errorf("%s is not an empty directory", dir), "name one that does not exist yet")
	}
	return false, nil
}

// clearDir takes back what was written.
func clearDir(dir string, made bool) error {
	if made {
		return os.RemoveAll(dir)
	}
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		err = errors.Join(err, os.RemoveAll(filepath.Join(dir, e.Name())))
	}
	return err
}
