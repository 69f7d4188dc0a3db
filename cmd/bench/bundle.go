package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// bundled is an OCI runtime that runs the same spec as umiak does, on a root mounted once for all its runs.
func (l *launcher) bundled(ctx context.Context, name string) *row {
	runtime, err := program(name)
	if err != nil {
		return leftOut(name, "not installed")
	}
	bundle := l.ws.path("bundle-" + name)
	if err := l.makeBundle(ctx, bundle); err != nil {
		return leftOut(name, "no bundle: "+err.Error())
	}
	// Under its own name, so that a container of somebody else's is never meant.
	id := filepath.Base(l.ws.dir) + "-" + name
	argv := []string{runtime, "--root", filepath.Join(bundle, "state"), "run", "--bundle", bundle, id}
	return &row{name: name, what: "the same spec, its overlay mounted beforehand", next: always(command{argv: argv, env: environment()})}
}

// makeBundle writes what umiak would run as a bundle: its spec, the files it binds, its root.
func (l *launcher) makeBundle(ctx context.Context, bundle string) error {
	root := filepath.Join(bundle, "root")
	if err := os.MkdirAll(root, 0o755); err != nil {
		return err
	}
	if err := l.mountOverlay(root, filepath.Base(bundle)); err != nil {
		return err
	}
	c := l.umiakCommand("run", "--dry-run", l.image, "true")
	cmd := exec.CommandContext(ctx, c.argv[0], c.argv[1:]...)
	cmd.Env = c.env
	spec, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("asking umiak for its spec: %w", err)
	}
	spec, err = moveSpec(spec, bundle)
	if err != nil {
		return err
	}
	for _, name := range []string{"hosts", "hostname", "resolv.conf"} {
		if err := os.WriteFile(filepath.Join(bundle, name), []byte("127.0.0.1 localhost\n"), 0o644); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(bundle, "config.json"), spec, 0o600)
}

// moveSpec makes the paths of a run's own directory, which a dry run does not make, those of a bundle. The root is the
// directory's "root".
func moveSpec(spec []byte, bundle string) ([]byte, error) {
	var s struct {
		Version string `json:"ociVersion"`
		Root    struct{ Path string }
	}
	if err := json.Unmarshal(spec, &s); err != nil {
		return nil, fmt.Errorf("reading umiak's spec: %w", err)
	}
	own := filepath.Dir(s.Root.Path)
	if !filepath.IsAbs(own) || own == "/" || strings.ContainsAny(own+bundle, `"\`) {
		return nil, fmt.Errorf("umiak's spec has its root at %q", s.Root.Path)
	}
	spec = bytes.ReplaceAll(spec, []byte(`"`+own+`/`), []byte(`"`+bundle+`/`))
	// crun of 2023 takes no version but 1.0's, and reads what it knows of later ones all the same.
	return bytes.Replace(spec, []byte(`"`+s.Version+`"`), []byte(`"1.0.2"`), 1), nil
}

// mountOverlay mounts a writable view of the tree: a runtime makes mount points, and the tree is not its to change.
func (l *launcher) mountOverlay(root, name string) error {
	upper, work := filepath.Join(l.disk.dir, name+"-upper"), filepath.Join(l.disk.dir, name+"-work")
	for _, dir := range []string{upper, work} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
	}
	if err := unix.Mount("overlay", root, "overlay", 0, "lowerdir="+l.rootfs+",upperdir="+upper+",workdir="+work+",volatile"); err != nil {
		return fmt.Errorf("mounting an overlay: %w", err)
	}
	l.mounted = append(l.mounted, root)
	return nil
}
