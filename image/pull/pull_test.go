package pull

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/umiak/umiak/cache"
	"github.com/umiak/umiak/cache/digest"
	"github.com/umiak/umiak/image"
	"github.com/umiak/umiak/image/registry"
)

func TestPull(t *testing.T) {
	reg, dir := serve(t), t.TempDir()
	c := openCache(t, dir)
	ref := reg.push(t, "o/r:t", build(t, []string{"hello", "one", "gone", "x"}, []string{"hello", "two", ".wh.gone", ""}))
	var m Meter
	res := mustPull(t, ref, Options{Cache: c, Meter: &m})
	if res.file("hello") != "two" || !strings.Contains(res.file("gone"), "no such file") {
		t.Errorf("hello is %q, gone is %q", res.file("hello"), res.file("gone"))
	}
	if !res.Pulled || res.Bytes != res.Image.Size || res.Image.Reference != ref {
		t.Errorf("pulled %+v", res)
	}
	want := Snapshot{Phase: PhaseDone, Bytes: res.Bytes, TotalBytes: res.Bytes, Layers: 2, TotalLayers: 2}
	if got := m.Snapshot(); got != want {
		t.Errorf("the meter shows %+v, want %+v", got, want)
	}
	// From now on nobody is asked, by tag or by digest.
	for _, ref := range []image.Reference{ref, parse(t, ref.String()+"@"+res.Image.Digest.String()), parse(t, "other.example/x@"+res.Image.Digest.String())} {
		again := mustPull(t, ref, Options{Cache: c, Source: nobody{t}})
		if again.Pulled || again.Bytes != 0 || again.Root.ID() != res.Root.ID() || again.Image.Digest != res.Image.Digest || again.Image.Reference != ref {
			t.Errorf("%s again: %+v", ref, again)
		}
		if cfg, err := again.Image.RunConfig(); err != nil || len(cfg.Cmd) != 1 {
			t.Errorf("config %+v, %v", cfg, err)
		}
	}
	if _, err := Pull(t.Context(), ref, Options{Cache: c}); err != nil {
		t.Errorf("offline: %v", err)
	}
}

func TestNotCached(t *testing.T) {
	c := openCache(t, t.TempDir())
	for _, o := range []Options{{Cache: c}, {Cache: c, Never: true, Source: nobody{t}}, {Cache: c, Always: true}} {
		_, err := Pull(t.Context(), parse(t, "alpine:3.20"), o)
		if !errors.Is(err, ErrNotCached) || !strings.HasPrefix(err.Error(), "image alpine:3.20 for linux/") {
			t.Errorf("%+v: %v", o, err)
		}
	}
}

// The same layer in two places is one download.
func TestLayerTwice(t *testing.T) {
	reg := serve(t)
	again := []string{"a", "from the layer that is there twice"}
	ref := reg.push(t, "o/r:t", build(t, again, []string{"a", "other"}, again))
	var m Meter
	res := mustPull(t, ref, Options{Cache: openCache(t, t.TempDir()), Meter: &m})
	if n := reg.count("/blobs/"); n != 3 { // and the config
		t.Errorf("%d blobs were asked for, want 3", n)
	}
	if s := m.Snapshot(); s.TotalBytes != res.Image.Size || s.TotalLayers != 3 {
		t.Errorf("the meter expects %+v, want %d bytes", s, res.Image.Size)
	}
	if res.file("a") != again[1] || len(res.Image.Layers) != 3 {
		t.Errorf("a is %q, with %d layers", res.file("a"), len(res.Image.Layers))
	}
}

// A tag that moved is followed when asked to; who runs the old image keeps it.
func TestAlways(t *testing.T) {
	reg, dir := serve(t), t.TempDir()
	c := openCache(t, dir)
	ref := reg.push(t, "o/r:t", build(t, []string{"v", "1"}))
	old := mustPull(t, ref, Options{Cache: c})
	reg.push(t, "o/r:t", build(t, []string{"v", "2"}))
	if res := mustPull(t, ref, Options{Cache: c}); res.file("v") != "1" {
		t.Errorf("missing: v is %s", res.file("v"))
	} else {
		res.Root.Close()
	}
	now := mustPull(t, ref, Options{Cache: c, Always: true})
	if now.file("v") != "2" || now.Root.ID() == old.Root.ID() || !now.Pulled {
		t.Errorf("always: v is %s", now.file("v"))
	}
	if _, err := Collect(t.Context(), c); err != nil || old.file("v") != "1" {
		t.Errorf("the root in use has v %s; %v", old.file("v"), err)
	}
	old.Root.Close()
	if freed, err := Collect(t.Context(), c); err != nil || freed == 0 || !strings.Contains(old.file("v"), "no such file") || now.file("v") != "2" {
		t.Errorf("collected %d, %v; old is %q, new %q", freed, err, old.file("v"), now.file("v"))
	}
	reg.reset()
	// An unchanged tag costs a question, no layer.
	if res := mustPull(t, ref, Options{Cache: c, Always: true}); res.Bytes != 0 || !res.Pulled || res.Root.ID() != now.Root.ID() {
		t.Errorf("unchanged: %+v", res)
	}
	if n := reg.count(now.Image.Layers[0].Digest.String()); n != 0 {
		t.Errorf("the layer was asked for %d times", n)
	}
}

// What is missing or damaged is made again from what is left.
func TestRepair(t *testing.T) {
	reg, dir := serve(t), t.TempDir()
	c := openCache(t, dir)
	ref := reg.push(t, "o/r:t", build(t, []string{"a", "1"}, []string{"b", "2"}))
	res := mustPull(t, ref, Options{Cache: c})
	res.Root.Close()
	root := res.Root.Path()
	blob := filepath.Join(dir, "blobs/sha256", res.Image.Layers[1].Digest.Hex())
	remove := func(path string) func() {
		return func() {
			if err := os.RemoveAll(path); err != nil {
				t.Fatal(err)
			}
		}
	}
	damage := func() {
		b, err := os.ReadFile(blob)
		if err == nil {
			b[len(b)/2] ^= 1
			if err = os.Chmod(blob, 0o600); err == nil {
				err = os.WriteFile(blob, b, 0o600)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, c2 := range []struct {
		about   string
		break_  []func()
		fetched int
	}{
		{"root gone", []func(){remove(root)}, 0},
		{"root hollow", []func(){remove(filepath.Join(root, RootFS))}, 0},
		{"root and a layer gone", []func(){remove(root), remove(blob)}, 1},
		{"root gone, a layer damaged", []func(){remove(root), damage}, 1},
	} {
		for _, offline := range []bool{true, false} {
			for _, f := range c2.break_ {
				f()
			}
			reg.reset()
			o := Options{Cache: c}
			if !offline {
				o.Source = registry.New(registry.Options{})
			}
			again, err := Pull(t.Context(), ref, o)
			if offline && c2.fetched > 0 {
				if !errors.Is(err, ErrNotCached) || !strings.Contains(err.Error(), "missing or damaged") {
					t.Errorf("%s, offline: %v", c2.about, err)
				}
				if _, err := os.Stat(blob); err != nil {
					continue
				}
				damage() // twice is none
				continue
			}
			if err != nil {
				t.Errorf("%s: %v", c2.about, err)
				continue
			}
			again.Root.Close()
			if again.file("a")+again.file("b") != "12" || reg.count("/manifests/") != 0 {
				t.Errorf("%s: a is %s, b is %s, %d manifests", c2.about, again.file("a"), again.file("b"), reg.count("/manifests/"))
			}
			if n := reg.count("/blobs/"); !offline && n != c2.fetched {
				t.Errorf("%s: %d blobs fetched, want %d", c2.about, n, c2.fetched)
			}
		}
	}
}

// Whatever a registry or an image does wrong is named, and nothing of it stays.
func TestRefusedImages(t *testing.T) {
	good := build(t, []string{"a", "1"}, []string{"b", strings.Repeat("2", 5000)})
	layers, err := good.Layers()
	if err != nil {
		t.Fatal(err)
	}
	second, err := layers[1].Digest()
	if err != nil {
		t.Fatal(err)
	}
	instead := func(status int, body string, length string) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.HasSuffix(r.URL.Path, second.String()) {
				return false
			}
			if length != "" {
				w.Header().Set("Content-Length", length)
			}
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
			return true
		}
	}
	lying := withConfig(t, good, func(c *v1.ConfigFile) { c.RootFS.DiffIDs[1] = c.RootFS.DiffIDs[0] })
	for _, c := range []struct {
		about  string
		img    v1.Image
		before func(http.ResponseWriter, *http.Request) bool
		is     error
		says   string
	}{
		{"other bytes", good, instead(200, strings.Repeat("x", 200), ""), digest.ErrMismatch, "layer: content does not match: " + second.String()},
		{"layer gone", good, instead(404, "", ""), image.ErrNotFound, second.String() + ", not found in registry"},
		{"server broken", good, instead(501, "", ""), nil, "501 Not Implemented"},
		{"not the config's diffID", lying, nil, digest.ErrMismatch, "not what the image's config says"},
		{"no tar", withConfig(t, build(t), func(*v1.ConfigFile) {}), func(w http.ResponseWriter, r *http.Request) bool { return answerTag(w, r) }, nil, "JSON"},
	} {
		reg, dir := serve(t), t.TempDir()
		ref := reg.push(t, "o/r:t", c.img)
		reg.answer(c.before)
		_, err := Pull(t.Context(), ref, Options{Cache: openCache(t, dir), Source: registry.New(registry.Options{})})
		if err == nil || !strings.Contains(err.Error(), c.says) || c.is != nil && !errors.Is(err, c.is) || strings.Contains(err.Error(), "\n") || strings.Contains(err.Error(), "making root") {
			t.Errorf("%s: %v; want %q", c.about, err, c.says)
		}
		if left := contents(t, dir); len(left) > 0 {
			t.Errorf("%s: left behind: %v", c.about, left)
		}
	}
}

func answerTag(w http.ResponseWriter, r *http.Request) bool {
	if strings.HasSuffix(r.URL.Path, "/manifests/t") {
		_, _ = io.WriteString(w, "not json")
		return true
	}
	return false
}

func TestCancel(t *testing.T) {
	reg, dir := serve(t), t.TempDir()
	ref := reg.push(t, "o/r:t", build(t, []string{"a", "1"}, []string{"b", "2"}))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	reg.answer(func(w http.ResponseWriter, r *http.Request) bool {
		if strings.Contains(r.URL.Path, "/blobs/") && reg.count("/blobs/") > 1 {
			time.AfterFunc(50*time.Millisecond, cancel)
			<-r.Context().Done()
			return true
		}
		return false
	})
	start := time.Now()
	_, err := Pull(ctx, ref, Options{Cache: openCache(t, dir), Source: registry.New(registry.Options{})})
	if !errors.Is(err, context.Canceled) || time.Since(start) > 5*time.Second {
		t.Errorf("after %s: %v", time.Since(start), err)
	}
	if left := contents(t, dir); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("umiak-test", dir, "tmpfs", 0, "size=256k"); err != nil {
		t.Skip("needs root: ", err)
	}
	defer syscall.Unmount(dir, 0)
	reg := serve(t)
	c := openCache(t, dir)
	defer c.Close()
	small := reg.push(t, "o/r:small", build(t, []string{"a", "1"}))
	mustPull(t, small, Options{Cache: c}).Root.Close()
	before := contents(t, dir)
	big := reg.push(t, "o/r:big", build(t, []string{"c", "stored before the disk is full"}, []string{"b", strings.Repeat("2", 1<<20)}))
	_, err := Pull(t.Context(), big, Options{Cache: c, Source: registry.New(registry.Options{})})
	if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "no space left") {
		t.Errorf("full disk: %v", err)
	}
	if after := contents(t, dir); !slices.Equal(after, before) {
		t.Errorf("there was %v, now there is %v", before, after)
	}
	mustPull(t, small, Options{Cache: c, Source: nobody{t}}).Root.Close()
}

// pullEnv makes this test binary a process that pulls: cache directory and reference.
const pullEnv = "UMIAK_TEST_PULL"

func TestMain(m *testing.M) {
	if dir, ref, ok := strings.Cut(os.Getenv(pullEnv), " "); ok {
		if err := pullMain(dir, ref); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func pullMain(dir, s string) error {
	c, err := cache.Open(dir)
	if err != nil {
		return err
	}
	ref, err := image.Parse(s)
	if err != nil {
		return err
	}
	res, err := Pull(context.Background(), ref, Options{Cache: c, Source: registry.New(registry.Options{})})
	if err != nil {
		return err
	}
	fmt.Println(res.file("a") + res.file("b"))
	return res.Root.Close()
}

// Eight processes want the same image at once, into an empty cache.
func TestProcessesDownloadOnce(t *testing.T) {
	reg, dir := serve(t), t.TempDir()
	ref := reg.push(t, "o/r:t", build(t, []string{"a", "1"}, []string{"b", "2"}, []string{"c", "3"}))
	layers := mustPull(t, ref, Options{Cache: openCache(t, t.TempDir())}).Image.Layers
	reg.reset()
	reg.answer(func(_ http.ResponseWriter, r *http.Request) bool {
		if strings.Contains(r.URL.Path, "/blobs/") {
			time.Sleep(100 * time.Millisecond) // long enough for all to be there
		}
		return false
	})
	type outcome struct {
		out []byte
		err error
	}
	results := make(chan outcome)
	for range 8 {
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = append(os.Environ(), pullEnv+"="+dir+" "+ref.String())
		go func() {
			out, err := cmd.CombinedOutput()
			results <- outcome{out, err}
		}()
	}
	for range 8 {
		if r := <-results; r.err != nil || string(r.out) != "12\n" {
			t.Errorf("a process says %q, %v", r.out, r.err)
		}
	}
	for _, l := range layers {
		if n := reg.count(l.Digest.String()); n != 1 {
			t.Errorf("layer %s was downloaded %d times", l.Digest, n)
		}
	}
	for _, left := range contents(t, dir) {
		if strings.HasPrefix(left, "tmp/") {
			t.Errorf("left behind: %s", left)
		}
	}
}
