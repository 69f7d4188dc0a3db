package cli_test

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/rogpeppe/go-internal/testscript"
)

// TestRealImages runs the built binary on images of the real world out of a real registry: Alpine,
// busybox and hello-world from Debian's docker-registry. Scripts find it as `exec umiak`.
func TestRealImages(t *testing.T) {
	layouts, err := filepath.Abs("../../../shared/images")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(layouts); err != nil {
		t.Skip("needs ../shared: real images as OCI layouts")
	}
	registry, err := exec.LookPath("docker-registry")
	if err != nil {
		t.Skip("needs docker-registry: Debian's package of that name")
	}
	if os.Getuid() != 0 {
		t.Skip("needs root: running containers")
	}
	bin := t.TempDir()
	build := exec.Command("go", "build", "-trimpath", "-o", bin, "../umiak")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building umiak: %v\n%s", err, out)
	}
	images := map[string]string{"alpine": "alpine-3.20.3", "alpine-old": "alpine-3.19.4", "busybox": "busybox-1.38", "hello-world": "hello-world"}
	testscript.Run(t, testscript.Params{
		Dir: "testdata/real",
		Setup: func(e *testscript.Env) error {
			addr, stop, err := dockerRegistry(registry, t.TempDir())
			if err != nil {
				return err
			}
			e.Defer(stop)
			e.Values["stop"] = stop
			for name, dir := range images {
				if err := push(filepath.Join(layouts, dir), addr+"/"+name); err != nil {
					return fmt.Errorf("pushing %s: %w", name, err)
				}
			}
			cache, err := os.MkdirTemp(shm(), "umiak-test-")
			if err != nil {
				return err
			}
			e.Defer(func() { os.RemoveAll(cache) })
			e.Setenv("UMIAK_ROOT", cache)
			e.Setenv("REGISTRY", addr)
			e.Setenv("HOME", e.WorkDir)
			e.Setenv("PATH", bin+":"+e.Getenv("PATH"))
			return nil
		},
		Cmds: commands,
	})
}

// dockerRegistry starts a registry on a free port of loopback and waits until it answers.
func dockerRegistry(program, dir string) (addr string, stop func(), err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	addr = l.Addr().String()
	l.Close()
	config := filepath.Join(dir, "config.yml")
	yml := fmt.Sprintf("version: 0.1\nlog: {level: error}\nstorage: {filesystem: {rootdirectory: %q}}\nhttp: {addr: %q}\n", dir, addr)
	if err := os.WriteFile(config, []byte(yml), 0o600); err != nil {
		return "", nil, err
	}
	cmd := exec.Command(program, "serve", config)
	if err := cmd.Start(); err != nil {
		return "", nil, err
	}
	stop = func() { cmd.Process.Kill(); cmd.Wait() }
	for range 200 {
		r, err := http.Get("http://" + addr + "/v2/")
		if err == nil {
			r.Body.Close()
			return addr, stop, nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	stop()
	return "", nil, fmt.Errorf("%s did not answer on %s", program, addr)
}

// push copies what an OCI layout holds, every platform of it, to a registry.
func push(dir, to string) error {
	p, err := layout.FromPath(dir)
	if err != nil {
		return err
	}
	top, err := p.ImageIndex()
	if err != nil {
		return err
	}
	m, err := top.IndexManifest()
	if err != nil {
		return err
	}
	ref, err := name.ParseReference(to)
	if err != nil {
		return err
	}
	d := m.Manifests[0]
	if d.MediaType.IsIndex() {
		index, err := top.ImageIndex(d.Digest)
		if err != nil {
			return err
		}
		return remote.WriteIndex(ref, index)
	}
	img, err := top.Image(d.Digest)
	if err != nil {
		return err
	}
	return remote.Write(ref, img)
}
