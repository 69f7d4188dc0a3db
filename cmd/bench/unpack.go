package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/umiak/umiak/cmd/demo/sample"
)

// unpacker is what the rows of this part start from: an image in a registry, and its layers in files.
type unpacker struct {
	*bench
	stage *stage
	disk  *disk
	image string   // its reference
	urls  []string // of its layers
	files []string // its layers
	bytes int64
	stop  func()
}

// unpack compares a pull into an empty cache with tar.
func (b *bench) unpack(ctx context.Context) error {
	b.note("making an image to unpack")
	u, err := b.newUnpacker(ctx)
	if err != nil {
		return err
	}
	defer u.close()
	tar, pull := u.tar("tar -xzf", ""), u.pull()
	c := comparison{title: fmt.Sprintf("Pull and flatten: %d layers, %.0f MB compressed", len(u.files), float64(u.bytes)/1e6), reference: tar,
		rows: []*row{tar, u.tar("tar -xzf, then sync", `; sync -f "$0"`), u.fetchAndTar(), pull}}
	b.note("unpacking each %d times", b.unpacks)
	if err := u.stage.interleave(ctx, c.rows, 1, b.unpacks); err != nil {
		return err
	}
	c.notes = []string{
		"each run begins with a file system made for it: " + b.ws.kind(),
		"sync is no part of tar -xzf; umiak publishes a tree once it is on disk, so its own is in its time, and tar with one stands beside",
		"the registry is in this process: its CPU time is nobody's, and it competes for the same CPUs"}
	c.print(b.out, b.markdown)
	b.ratios = append(b.ratios, pair{pull, tar})
	return pull.mustHave()
}

func (b *bench) newUnpacker(ctx context.Context) (u *unpacker, err error) {
	u = &unpacker{bench: b, stop: func() {}}
	defer func() {
		if err != nil {
			u.close()
		}
	}()
	if u.stage, err = newStage(); err != nil {
		return u, err
	}
	if u.disk, err = b.ws.disk(ctx, "unpack"); err != nil {
		return u, err
	}
	img, err := b.imageOr(ctx, func() (v1.Image, error) { return unpackImage(plans(b.quick)) })
	if err != nil {
		return u, err
	}
	addr, stop, err := sample.Serve(map[string]v1.Image{"layers": img})
	if err != nil {
		return u, err
	}
	u.stop, u.image = stop, addr+"/layers"
	return u, u.store(img, addr)
}

func (u *unpacker) close() {
	u.stop()
	if u.stage != nil {
		u.stage.close()
	}
	if u.disk != nil {
		u.disk.close()
	}
}

// store writes the layers to files, for tar.
func (u *unpacker) store(img v1.Image, addr string) error {
	layers, err := img.Layers()
	for i, layer := range layers {
		if err != nil {
			break
		}
		var hash v1.Hash
		if hash, err = layer.Digest(); err == nil {
			file := u.ws.path(fmt.Sprintf("layer%d", i))
			u.files = append(u.files, file)
			u.urls = append(u.urls, "http://"+addr+"/v2/layers/blobs/"+hash.String())
			err = u.storeLayer(layer, file)
		}
	}
	return err
}

func (u *unpacker) storeLayer(layer v1.Layer, file string) error {
	from, err := layer.Compressed()
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := os.Create(file)
	if err != nil {
		return err
	}
	n, err := io.Copy(to, from)
	u.bytes += n
	return errors.Join(err, to.Close())
}

// on makes a row whose command is given a fresh directory.
func (u *unpacker) on(name, what string, make func(dir string) command) *row {
	return &row{name: name, what: what, next: func(ctx context.Context) (command, error) {
		if err := u.disk.fresh(ctx); err != nil {
			return command{}, err
		}
		dir := filepath.Join(u.disk.dir, "new")
		return make(dir), os.Mkdir(dir, 0o755)
	}}
}

// pull is umiak's, into an empty cache.
func (u *unpacker) pull() *row {
	return u.on("umiak pull", "downloads, verifies, flattens, publishes", func(dir string) command {
		return command{argv: []string{u.umiak, "pull", "--quiet", u.image}, env: append(environment(), "UMIAK_ROOT="+dir)}
	})
}

// tar unpacks the files in order. GNU tar finds a zstd layer out by itself only without -z.
func (u *unpacker) tar(name, after string) *row {
	if _, err := program("tar"); err != nil {
		return leftOut(name, "tar is not installed")
	}
	script := strings.Replace(unpackScript, "DONE", after, 1)
	return u.on(name, "the layers being files already", func(dir string) command {
		return command{argv: append([]string{"/bin/sh", "-c", script, dir}, u.files...), env: environment()}
	})
}

// unpackScript unpacks files into the directory $0.
const unpackScript = `for f; do tar -xzf "$f" -C "$0" 2>/dev/null || tar -xf "$f" -C "$0" || exit; doneDONE`

// fetchAndTar downloads each layer to a file and then unpacks it.
func (u *unpacker) fetchAndTar() *row {
	const name = "download, then tar -xzf"
	self, err := os.Executable()
	if err != nil {
		return leftOut(name, err.Error())
	}
	return u.on(name, "net/http to a file, nothing verified", func(dir string) command {
		return command{argv: append([]string{self, fetchVerb, dir}, u.urls...), env: environment()}
	})
}
