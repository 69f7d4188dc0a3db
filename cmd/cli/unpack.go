package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/umiak/umiak/cache/digest"
	"github.com/umiak/umiak/image"
	"github.com/umiak/umiak/image/archive"
	"github.com/umiak/umiak/image/pull"
)

func (a *App) unpackCommand() *cobra.Command {
	o := &fetchOptions{app: a}
	c := &cobra.Command{
		Use:   "unpack [flags] SOURCE DIR",
		Short: "Flatten an image into a plain directory",
		Long: `Flatten an image into DIR: its files as a container would see them, and nothing else.
DIR must not exist or be empty; if anything goes wrong it is as it was before. The cache
is not used: nothing is taken from it and nothing stays in it. The image's digest is the
last line on standard output; progress goes to standard error.

SOURCE is an image in a registry, or oci:LAYOUT[:NAME]: the image called NAME, or the
only one, in an OCI layout, which is a directory or a tar, such as docker save writes.
NAME is what the layout's index.json says, or a digest.`,
		Example: `  umiak unpack alpine:3.20 alpine
  umiak unpack oci:build/layout:v1 root
  docker save alpine >alpine.tar && umiak unpack oci:alpine.tar root`,
		Args: wantArgs(2, 2, "an image and a directory"),
		RunE: func(c *cobra.Command, args []string) error {
			d, err := o.unpack(c.Context(), args[0], args[1])
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(a.Out, d)
			return output125(err)
		},
	}
	o.addPlatform(c.Flags())
	c.Flags().BoolVarP(&o.quiet, "quiet", "q", false, "show no progress")
	return c
}

// unpack makes the directory whole or not at all.
func (o *fetchOptions) unpack(ctx context.Context, name, dir string) (digest.Digest, error) {
	platform, err := o.wanted()
	if err != nil {
		return "", err
	}
	if err := needRoot(); err != nil {
		return "", err
	}
	src, err := o.app.source(name)
	if err != nil {
		return "", err
	}
	defer src.close()
	restore, err := claimDir(dir)
	if err != nil {
		return "", err
	}
	img, err := o.unpackInto(ctx, src, platform, dir)
	if err != nil {
		return "", errors.Join(src.explain(err), restore())
	}
	return img.Digest, nil
}

func (o *fetchOptions) unpackInto(ctx context.Context, src *source, p image.Platform, dir string) (*image.Image, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	img, err := src.Resolve(ctx, src.ref, p)
	if err != nil {
		return nil, err
	}
	po := pull.Options{Source: src, Meter: &pull.Meter{}}
	defer o.app.showProgress(po.Meter, src.ref.Familiar(), o.quiet)()
	return img, pull.Unpack(ctx, img, po, f)
}

// claimDir makes a directory, or finds that it is empty. restore undoes what was done to it.
func claimDir(dir string) (restore func() error, err error) {
	made, err := emptyDir(dir)
	if err != nil {
		return nil, err
	}
	before, err := os.Stat(dir)
	if err != nil {
		return nil, err
	}
	return func() error {
		err := clearDir(dir, made)
		if !made {
			uid, gid := owners(before)
			err = errors.Join(err, os.Chown(dir, uid, gid), os.Chmod(dir, before.Mode()))
		}
		return err
	}, nil
}

// source is where an image comes from, and what it is called there.
type source struct {
	image.Source
	ref     image.Reference
	close   func() error
	explain func(error) error
}

// source finds out what is meant: a registry, or a layout on disk.
func (a *App) source(name string) (*source, error) {
	scheme, rest, _ := strings.Cut(name, ":")
	if scheme == "oci" || scheme == "oci-archive" {
		path, name := splitLayout(rest, func(p string) bool { _, err := os.Stat(p); return err == nil })
		l, err := archive.Open(path)
		if err != nil {
			return nil, layoutError(err)
		}
		return &source{l, l.Reference(name), l.Close, layoutError}, nil
	}
	ref, err := image.Parse(name)
	if err != nil {
		return nil, hinted(err, "an image is [registry/]name[:tag][@digest], in lower case, or oci:LAYOUT[:NAME]")
	}
	return &source{a.registry(), ref, func() error { return nil }, func(err error) error { return err }}, nil
}

// splitLayout tells the path from the name after it. Both may hold colons, so the longest path
// that exists is meant.
func splitLayout(s string, exists func(string) bool) (path, name string) {
	for path = s; ; path = path[:strings.LastIndexAny(path, ":@")] {
		if path != "" && exists(path) {
			return path, strings.TrimLeft(s[len(path):], ":@")
		}
		if !strings.ContainsAny(path, ":@") {
			break
		}
	}
	path, name, _ = strings.Cut(s, ":")
	return path, name
}

// layoutError has hints for what goes wrong with a layout, where a registry's would mislead.
func layoutError(err error) error {
	switch {
	case errors.Is(err, digest.ErrMismatch):
		return hinted(err, "the layout is damaged or was changed; nothing of it was kept")
	case errors.Is(err, archive.ErrAmbiguous):
		return hinted(err, "choose one of them: oci:LAYOUT:NAME, or oci:LAYOUT@sha256:…")
	case errors.Is(err, image.ErrNotFound):
		return hinted(err, "oci:LAYOUT:NAME wants a name as it is in index.json, or a digest")
	case errors.Is(err, os.ErrNotExist), errors.Is(err, archive.ErrNotALayout):
		return hinted(err, "oci:LAYOUT[:NAME] wants a directory, or a tar of one, with the files oci-layout and index.json")
	}
	return err
}
