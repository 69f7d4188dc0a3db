package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/umiak/umiak/cache"
	"github.com/umiak/umiak/image"
	"github.com/umiak/umiak/image/pull"
	"github.com/umiak/umiak/run"
	"github.com/umiak/umiak/run/cgroup"
	"github.com/umiak/umiak/run/child"
	"github.com/umiak/umiak/run/spec"
	"github.com/umiak/umiak/run/state"
	"github.com/umiak/umiak/unpack/rootfs"
)

const runLong = `Run a command in a container made from an image.

The image is pulled if it is not in the cache; a cached one is run without
contacting anybody. The command's root is the image's file system under a layer
of its own that is thrown away at the end (--rm is always so), in new mount, pid,
ipc, uts and cgroup namespaces. The network is the host's unless --network none.

Standard input, output and error are the caller's. If input and output are both
terminals the command gets a terminal of its own.

Exit status: the command's own; 128+n if signal n ended it; 125 if umiak failed,
126 if the command can't be started, 127 if it is not there.`

const runExample = `  umiak run alpine sh
  umiak run --memory 100m --cpus 1.5 --pids-limit 50 alpine ./script.sh
  umiak run --network none --entrypoint /bin/ls busybox -l /
  umiak run --explain alpine true     what would be done, call by call
  umiak run --dry-run alpine true     the OCI runtime spec of it`

func (a *App) runCommand() *cobra.Command {
	o := &runOptions{fetchOptions: fetchOptions{app: a}}
	c := &cobra.Command{
		Use:               "run [flags] IMAGE [COMMAND [ARG...]]",
		Short:             "Run a command in a container made from an image",
		Long:              runLong,
		Example:           runExample,
		Args:              wantArgs(1, -1, "an image to run"),
		ValidArgsFunction: a.completeImages,
		RunE:              func(c *cobra.Command, args []string) error { return o.run(c.Context(), args[0], args[1:]) },
	}
	o.addFlags(c.Flags())
	c.Flags().SetInterspersed(false) // what follows IMAGE is the command's
	_ = c.RegisterFlagCompletionFunc("pull", cobra.FixedCompletions([]string{"missing", "always", "never"}, cobra.ShellCompDirectiveNoFileComp))
	_ = c.RegisterFlagCompletionFunc("network", cobra.FixedCompletions([]string{"host", "none"}, cobra.ShellCompDirectiveNoFileComp))
	return c
}

// run is the main job: from the name of an image to the exit status of a command.
func (o *runOptions) run(ctx context.Context, name string, args []string) error {
	if err := o.check(); err != nil {
		return err
	}
	img, err := o.fetch(ctx, name)
	if err != nil {
		return err
	}
	defer img.Close()
	p := &prepared{options: o, id: newID(), result: img}
	if err := p.describe(args); err != nil {
		return err
	}
	switch {
	case o.dryRun:
		return p.printSpec()
	case o.explain:
		return p.printList()
	}
	return p.start(ctx)
}

// prepared is a run that has all it needs but the state that a run leaves traces of.
type prepared struct {
	options *runOptions
	id      string
	result  *fetched
	tree    *rootfs.Dir
	spec    *specs.Spec
}

// stateDir is where the run's own files are, or would be.
func (p *prepared) stateDir() string {
	return filepath.Join(p.result.cache.Path(), "state", p.id)
}

// describe makes the spec from the image's config, its passwd and group files, and the flags.
func (p *prepared) describe(args []string) error {
	config, err := p.result.Image.RunConfig()
	if err != nil {
		return err
	}
	p.tree, err = rootfs.Open(filepath.Join(p.result.Root.Path(), "rootfs"))
	if err != nil {
		return err
	}
	so, err := p.options.specOptions()
	if err != nil {
		return err
	}
	so.ID, so.Args, so.RootPath = p.id, args, filepath.Join(p.stateDir(), "root")
	so.Mounts = netFiles(p.stateDir())
	files, err := p.identities()
	if err != nil {
		return err
	}
	p.spec, err = spec.New(specImage(config), files, so)
	return err
}

func specImage(c image.Config) spec.Image {
	return spec.Image{
		Env: c.Env, Entrypoint: c.Entrypoint, Cmd: c.Cmd, WorkingDir: c.WorkingDir,
		User: c.User, StopSignal: c.StopSignal,
	}
}

// identities reads the image's user and group files. An image may have none; one that has a
// fifo, a device or a gigabyte there is refused (CVE-2024-9676, CVE-2026-47262).
func (p *prepared) identities() (spec.Files, error) {
	const most = 1 << 20 // bytes
	var f spec.Files
	for _, x := range []struct {
		name string
		to   *[]byte
	}{{"etc/passwd", &f.Passwd}, {"etc/group", &f.Group}} {
		b, err := p.tree.ReadFile(x.name, most)
		if err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ENOTDIR) {
			return f, fmt.Errorf("reading the image's /%s: %w", x.name, err)
		}
		*x.to = b
	}
	return f, nil
}

// config is the run as package run takes it.
func (p *prepared) config() run.Config {
	return run.Config{
		ID: p.id, Spec: p.spec, Resolve: p.tree.Resolve, Mode: child.Mode(p.options.mode),
		Overlay: &run.Overlay{
			Base: p.result.cache.Path(), Lower: filepath.Join("roots", p.result.Root.ID(), "rootfs"),
			Upper: filepath.Join("state", p.id, "upper"), Work: filepath.Join("state", p.id, "work"),
		},
	}
}

func (p *prepared) printSpec() error {
	e := json.NewEncoder(p.options.app.Out)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(p.spec)
}

func (p *prepared) printList() error {
	c := p.config()
	list, err := run.Explain(c)
	if err != nil {
		return err
	}
	_, err = fmt.Fprint(p.options.app.Out, list)
	return err
}

// start makes the run's state, starts the container and stays until it ends.
func (p *prepared) start(ctx context.Context) error {
	base := filepath.Dir(p.stateDir())
	// What a crash left behind: a few each time, so that no run pays for many.
	if _, err := state.Sweep(base, 4, cgroup.Clean); err != nil {
		return err
	}
	st, err := state.Create(base, p.id)
	if err != nil {
		return err
	}
	err = p.supervise(ctx, st)
	if rmErr := st.Remove(); rmErr != nil {
		p.options.app.say("warning", "removing the run's files: "+rmErr.Error())
	}
	return err
}

// fetched is an image with its root leased and the cache that holds it.
type fetched struct {
	*pull.Result
	cache *cache.Cache
}

func (f *fetched) Close() {
	f.Root.Close()
	f.cache.Close()
}
