package pull

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	ggcr "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/umiak/umiak/cache"
	"github.com/umiak/umiak/image"
	"github.com/umiak/umiak/image/registry"
)

// A testRegistry is go-containerregistry's, with a count of what is asked for and
// a hook that may answer first.
type testRegistry struct {
	host   string
	mu     sync.Mutex
	gets   map[string]int
	before func(w http.ResponseWriter, r *http.Request) bool
}

func serve(t testing.TB) *testRegistry {
	t.Helper()
	reg := &testRegistry{gets: make(map[string]int)}
	inner := ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0)))
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		reg.mu.Lock()
		if r.Method == http.MethodGet {
			reg.gets[r.URL.Path]++
		}
		before := reg.before
		reg.mu.Unlock()
		if before != nil && before(w, r) {
			return
		}
		inner.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	reg.host = strings.TrimPrefix(s.URL, "http://")
	return reg
}

func (r *testRegistry) answer(before func(w http.ResponseWriter, r *http.Request) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.before = before
}

func (r *testRegistry) reset() {
	r.mu.Lock()
	defer r.mu.Unlock()
	clear(r.gets)
}

// count is how often anything with part in its path was asked for.
func (r *testRegistry) count(part string) (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for path, times := range r.gets {
		if strings.Contains(path, part) {
			n += times
		}
	}
	return n
}

func (r *testRegistry) push(t testing.TB, ref string, img v1.Image) image.Reference {
	t.Helper()
	tag, err := name.NewTag(r.host + "/" + ref)
	if err == nil {
		err = remote.Write(tag, img)
	}
	if err != nil {
		t.Fatal(err)
	}
	return parse(t, r.host+"/"+ref)
}

func parse(t testing.TB, s string) image.Reference {
	t.Helper()
	ref, err := image.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

// layer is a gzipped tar of files, given as name, content, name, content.
func layer(t testing.TB, files ...string) v1.Layer {
	t.Helper()
	return static.NewLayer(compress(t, tarOf(t, files...)), types.OCILayer)
}

func tarOf(t testing.TB, files ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for i := 0; i < len(files); i += 2 {
		h := &tar.Header{Name: files[i], Mode: 0o644, Size: int64(len(files[i+1])), Uid: os.Getuid(), Gid: os.Getgid()}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, files[i+1]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func compress(t testing.TB, b []byte) []byte {
	t.Helper()
	var z bytes.Buffer
	w := gzip.NewWriter(&z)
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return z.Bytes()
}

// tarLayer knows its diffID, which static.NewLayer doesn't.
type tarLayer struct {
	v1.Layer
	diffID v1.Hash
}

func (l tarLayer) DiffID() (v1.Hash, error) { return l.diffID, nil }

// build makes an image of layers that are each given as for tarOf.
func build(t testing.TB, layers ...[]string) v1.Image {
	t.Helper()
	img := mutate.MediaType(empty.Image, types.OCIManifestSchema1)
	img = mutate.ConfigMediaType(img, types.OCIConfigJSON)
	for _, files := range layers {
		id, _, err := v1.SHA256(bytes.NewReader(tarOf(t, files...)))
		if err != nil {
			t.Fatal(err)
		}
		if img, err = mutate.AppendLayers(img, tarLayer{layer(t, files...), id}); err != nil {
			t.Fatal(err)
		}
	}
	return withConfig(t, img, func(c *v1.ConfigFile) {
		c.OS, c.Architecture = "linux", image.HostPlatform().Architecture
		c.Config.Cmd = []string{"/hello"}
	})
}

func withConfig(t testing.TB, img v1.Image, edit func(*v1.ConfigFile)) v1.Image {
	t.Helper()
	c, err := img.ConfigFile()
	if err == nil {
		c = c.DeepCopy()
		edit(c)
		img, err = mutate.ConfigFile(img, c)
	}
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func openCache(t testing.TB, dir string) *cache.Cache {
	t.Helper()
	c, err := cache.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// mustPull pulls from registries and closes the lease at the end of the test.
func mustPull(t testing.TB, ref image.Reference, o Options) *Result {
	t.Helper()
	if o.Source == nil && !o.Never {
		o.Source = registry.New(registry.Options{})
	}
	res, err := Pull(t.Context(), ref, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { res.Root.Close() })
	return res
}

// file reads a file of the unpacked image.
func (r *Result) file(name string) string {
	b, err := os.ReadFile(filepath.Join(r.Root.Path(), RootFS, name))
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// digests lists the layers of an image.
func digests(t testing.TB, img v1.Image) (list []string) {
	t.Helper()
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range layers {
		d, err := l.Digest()
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, d.String())
	}
	return list
}

// nobody is a source that must not be asked.
type nobody struct{ t testing.TB }

func (n nobody) Resolve(context.Context, image.Reference, image.Platform) (*image.Image, error) {
	n.t.Error("the source was asked to resolve")
	return nil, fmt.Errorf("asked")
}

func (n nobody) Open(context.Context, image.Reference, image.Layer) (io.ReadCloser, error) {
	n.t.Error("the source was asked for a layer")
	return nil, fmt.Errorf("asked")
}

// contents lists what is in a cache, apart from what belongs to an empty one.
func contents(t testing.TB, dir string) []string {
	t.Helper()
	var list []string
	for _, sub := range []string{"tmp", "blobs/sha256", "roots", "refs"} {
		entries, err := os.ReadDir(filepath.Join(dir, sub))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			list = append(list, sub+"/"+e.Name())
		}
	}
	return list
}

// waitFor waits until there is a file.
func waitFor(path string) bool {
	for range 500 {
		if _, err := os.Stat(path); err == nil {
			return true
		}
		time.Sleep(10 * time.Millisecond)
	}
	return false
}
