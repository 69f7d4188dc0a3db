package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sys/unix"

	"github.com/umiak/umiak/cmd/demo/sample"
)

// launcher is what the rows of this part start from: an image in umiak's cache, and its tree there.
type launcher struct {
	*bench
	stage   *stage
	disk    *disk
	image   string // its reference
	rootfs  string
	program string // true, as a path inside
	mounted []string
}

// launch compares warm runs of true.
func (b *bench) launch(ctx context.Context) error {
	c := comparison{title: "A warm run of true"}
	if !b.root {
		c.rows = []*row{leftOut("everything here", "needs root: to make namespaces and mounts")}
		c.print(b.out, b.markdown)
		return nil
	}
	b.note("making an image to run")
	l, err := b.newLauncher(ctx)
	if err != nil {
		return err
	}
	defer l.close()
	floor, umiak, chroot, alone := l.floor(ctx), l.umiakRow("umiak run"), l.unshare(), l.alone()
	c.rows = []*row{
		floor, umiak, l.umiakRow("umiak run with limits", "--memory", "100m", "--pids-limit", "50"), chroot,
		l.emptyGo(ctx), alone, l.bwrap(), l.bundled(ctx, "crun"), l.bundled(ctx, "runc"),
	}
	b.note("running each %d times", b.runs)
	if err := l.stage.interleave(ctx, c.rows, min(10, b.runs), b.runs); err != nil {
		return err
	}
	c.reference = firstMeasured(floor, chroot, alone)
	c.notes = []string{"× is the ratio of medians to " + c.reference.name + "; CPU is the median of user and system time, of the launcher and all it waited for"}
	c.print(b.out, b.markdown)
	b.ratios = append(b.ratios, pair{umiak, floor}, pair{umiak, chroot})
	return umiak.mustHave()
}

func (b *bench) newLauncher(ctx context.Context) (l *launcher, err error) {
	// Garbage is not collected while we measure; this part makes little.
	runtime.GC()
	debug.SetGCPercent(-1)
	l = &launcher{bench: b}
	defer func() {
		if err != nil {
			l.close()
		}
	}()
	if l.stage, err = newStage(); err != nil {
		return l, err
	}
	if l.disk, err = b.ws.disk(ctx, "run"); err != nil {
		return l, err
	}
	img, err := b.imageOr(ctx, func() (v1.Image, error) { return launchImage(ctx) })
	if err != nil {
		return l, err
	}
	return l, l.pull(ctx, img)
}

// imageOr is the image asked for with --image, or else the one that make makes.
func (b *bench) imageOr(ctx context.Context, make func() (v1.Image, error)) (v1.Image, error) {
	if b.image != "" {
		return fetchImage(ctx, b.image)
	}
	return make()
}

// pull fills the cache; from then on there is no registry.
func (l *launcher) pull(ctx context.Context, img v1.Image) error {
	addr, stop, err := sample.Serve(map[string]v1.Image{"bench": img})
	if err != nil {
		return err
	}
	defer stop()
	l.image = addr + "/bench"
	if _, err := l.stage.time(ctx, l.umiakCommand("pull", "--quiet", l.image)); err != nil {
		return err
	}
	found, err := filepath.Glob(filepath.Join(l.cache(), "roots/*/rootfs"))
	if err != nil || len(found) != 1 {
		return fmt.Errorf("looking for the tree in umiak's cache: found %q, %w", found, errors.Join(err, os.ErrNotExist))
	}
	l.rootfs = found[0]
	for _, name := range []string{"/bin/true", "/usr/bin/true"} {
		if _, err := os.Lstat(l.rootfs + name); err == nil {
			l.program = name
			return nil
		}
	}
	return errors.New("the image has no true")
}

func (l *launcher) close() {
	for _, dir := range l.mounted {
		unix.Unmount(dir, 0)
	}
	if l.stage != nil {
		l.stage.close()
	}
	if l.disk != nil {
		l.disk.close()
	}
	debug.SetGCPercent(100)
}

func (l *launcher) cache() string { return filepath.Join(l.disk.dir, "cache") }

// environment is what every command is given.
func environment() []string {
	return []string{"PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "HOME=/"}
}

func (l *launcher) umiakCommand(args ...string) command {
	return command{argv: append([]string{l.umiak}, args...), env: append(environment(), "UMIAK_ROOT="+l.cache())}
}

func (l *launcher) umiakRow(name string, flags ...string) *row {
	args := append(append([]string{"run"}, flags...), l.image, "true")
	return &row{name: name, what: "everything a run has, from the cache", next: always(l.umiakCommand(args...))}
}

// unshare is what one would do by hand: no overlay, no /proc, no /dev.
func (l *launcher) unshare() *row {
	const name = "unshare + chroot"
	unshare, err := program("unshare")
	if err != nil {
		return leftOut(name, "not installed")
	}
	argv := []string{unshare, "--mount", "--pid", "--uts", "--ipc", "--fork", "chroot", l.rootfs, l.program}
	return &row{name: name, what: "the same tree, nothing mounted", next: always(command{argv: argv, env: environment()})}
}

// emptyGo is what every Go program pays before its first line.
func (l *launcher) emptyGo(ctx context.Context) *row {
	const name = "an empty Go program"
	source, binary := l.ws.path("empty.go"), l.ws.path("empty")
	err := os.WriteFile(source, []byte("package main\n\nfunc main() {}\n"), 0o600)
	if err == nil {
		cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", binary, source)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		err = cmd.Run()
	}
	if err != nil {
		return leftOut(name, err.Error())
	}
	return &row{name: name, what: "no container at all", next: always(command{argv: []string{binary}, env: environment()})}
}

// alone is the program itself.
func (l *launcher) alone() *row {
	return &row{name: "true alone", what: "fork, chroot, exec", next: always(command{argv: []string{l.program}, env: environment(), chroot: l.rootfs})}
}

func (l *launcher) bwrap() *row {
	bwrap, err := program("bwrap")
	if err != nil {
		return leftOut("bwrap", "not installed")
	}
	argv := []string{bwrap, "--ro-bind", l.rootfs, "/", "--proc", "/proc", "--dev", "/dev", "--unshare-pid", "--unshare-uts",
		"--unshare-ipc", "--hostname", "bench", l.program}
	return &row{name: "bwrap", what: "read-only, no overlay", next: always(command{argv: argv, env: environment()})}
}
