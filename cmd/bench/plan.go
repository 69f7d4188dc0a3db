package main

import (
	"archive/tar"
	"errors"
	"math"
	"math/rand/v2"
	"path"
	"strconv"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// plan is a layer to be made: what is in it is decided by its numbers alone.
type plan struct {
	top    string
	files  int
	seed   uint64
	change *plan // a small layer changes some of this one's files, and removes some
}

// plans are the layers of an image like those that people run: a system, a language's run time, an application, a few
// changes. All in all 7,000 files, 4 kB in the middle, 24 kB on average.
func plans(quick bool) []plan {
	scale := 1
	if quick {
		scale = 16
	}
	system := plan{top: "usr/share", files: 3200 / scale, seed: 1}
	return []plan{
		system,
		{top: "usr/lib/runtime", files: 2600 / scale, seed: 2},
		{top: "srv/application", files: 1200 / scale, seed: 3},
		{top: "etc", files: 60 / scale, seed: 4, change: &system},
	}
}

// item is a tar entry to be.
type item struct {
	kind    byte
	name    string
	link    string
	mode    int64
	size    int64
	textual bool
}

// items lists what the layer holds, directory by directory as archives do.
func (p plan) items() []item {
	r := rand.New(rand.NewPCG(p.seed, 7))
	list := parents(p.top)
	dirs, previous := []string{p.top}, ""
	for n := 0; n < p.files; {
		dir := path.Join(dirs[r.IntN(len(dirs))], word(r)+strconv.Itoa(n))
		dirs = append(dirs, dir)
		list = append(list, item{kind: tar.TypeDir, name: dir + "/", mode: 0o755})
		for range 1 + r.IntN(16) {
			e := newItem(r, path.Join(dir, word(r)+strconv.Itoa(n)), previous)
			if e.kind == tar.TypeReg {
				previous = e.name
			}
			list = append(list, e)
			n++
		}
	}
	if p.change != nil {
		list = append(list, p.change.changes(r)...)
	}
	return list
}

func parents(top string) (list []item) {
	for dir := top; dir != "."; dir = path.Dir(dir) {
		list = append([]item{{kind: tar.TypeDir, name: dir + "/", mode: 0o755}}, list...)
	}
	return list
}

// newItem draws a file: most small, a few large, as a log-normal distribution has it; some are links.
func newItem(r *rand.Rand, name, previous string) item {
	kind := r.IntN(100)
	switch {
	case kind < 5 && previous != "":
		return item{kind: tar.TypeSymlink, name: name, link: "/" + previous, mode: 0o777}
	case kind < 7 && previous != "":
		return item{kind: tar.TypeLink, name: name, link: previous, mode: 0o644}
	}
	const median, spread, most = 4000, 1.9, 12 << 20
	e := item{kind: tar.TypeReg, name: name, mode: 0o644, size: int64(min(median*math.Exp(spread*r.NormFloat64()), most))}
	e.textual = r.IntN(100) < 60
	if !e.textual && r.IntN(2) == 0 {
		e.mode = 0o755
	}
	return e
}

// changes are entries of a later layer: every fiftieth file written anew, every eightieth removed.
func (p plan) changes(r *rand.Rand) (list []item) {
	for i, e := range p.items() {
		switch {
		case e.kind != tar.TypeReg:
		case i%50 == 0:
			e.size = int64(r.IntN(20000))
			list = append(list, e)
		case i%80 == 0:
			list = append(list, item{kind: tar.TypeReg, name: path.Join(path.Dir(e.name), ".wh."+path.Base(e.name)), mode: 0o644})
		}
	}
	return list
}

// word makes a name up.
func word(r *rand.Rand) string {
	b := make([]byte, 3+r.IntN(8))
	for i := range b {
		b[i] = "etaoinshrdlucmfwypvbgkqjxz"[min(r.IntN(26), r.IntN(26))]
	}
	return string(b)
}

// pack makes all layers at once, since compressing takes the longest.
func pack(plans []plan) ([]v1.Layer, error) {
	layers, errs := make([]v1.Layer, len(plans)), make([]error, len(plans))
	var working sync.WaitGroup
	for i, p := range plans {
		working.Go(func() { layers[i], errs[i] = packLayer(p.write) })
	}
	working.Wait()
	return layers, errors.Join(errs...)
}

func (p plan) write(w *tar.Writer) error {
	c := newContent(p.seed)
	for _, e := range p.items() {
		h := &tar.Header{Typeflag: e.kind, Name: e.name, Linkname: e.link, Mode: e.mode, Size: e.size, ModTime: made()}
		if err := w.WriteHeader(h); err != nil {
			return err
		}
		if err := c.write(w, e.size, e.textual); err != nil {
			return err
		}
	}
	return nil
}
