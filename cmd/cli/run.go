package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

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

Exit status: the command's own; 128+n if signal n ended it; 124 at --timeout;
125 if umiak failed, 126 if the command can't be started, 127 if it is not there.`

const runExample = `  umiak run alpine sh
  umiak run --memory 100m --cpus 1.5 --pids-limit 50 alpine ./script.sh
  umiak run -v "$PWD:/src" -w /src -u 1000 golang go test ./...
  umiak run --network none --read-only --cap-drop ALL alpine id
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

// run is the main job: from the name of an image to the exit status of a command. What happens
// goes to the status file, if there is one; an error that ends umiak is its last line.
func (o *runOptions) run(ctx context.Context, name string, args []string) (err error) {
	if err := o.check(); err != nil {
		return err
	}
	p := &prepared{options: o, id: o.runID()}
	if err := p.preflight(); err != nil {
		return err
	}
	if err := p.openOutputs(); err != nil {
		return err
	}
	defer func() {
		if err != nil && !isStatus(err) {
			p.status.failed(ctx, err)
		}
		if closeErr := p.status.close(); closeErr != nil {
			o.app.say("warning", closeErr.Error())
		}
	}()
	if err := p.obtain(ctx, name); err != nil {
		return err
	}
	defer p.close()
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

// runID is the name given, or a new random one.
func (o *runOptions) runID() string {
	if o.name != "" {
		return o.name
	}
	return newID()
}

// prepared is a run that has all it needs but the state that a run leaves traces of.
type prepared struct {
	options *runOptions
	id      string
	cache   *cache.Cache
	result  *pull.Result // nil for --rootfs
	pulled  time.Duration

	treePath string // the root's files on the host
	layered  bool   // under a layer of the run's own
	tree     *rootfs.Dir

	asked   spec.Options
	files   spec.Files // the image's passwd and group files
	spec    *specs.Spec
	content map[string]string // files of the run's own, shown in /etc

	beneath map[string]string // for a mount of a part of a volume: the volume

	status *statusFile
	report *output
}

// preflight finds what makes no sense in the flags before anything is fetched: all but what only
// the image can tell, such as whom a user's name means.
func (p *prepared) preflight() (err error) {
	if p.asked, err = p.options.specOptions(); err != nil {
		return err
	}
	p.asked.ID = p.id
	try := p.asked
	try.RootPath, try.Args, try.User, try.GroupAdd = "/", []string{"true"}, "", nil
	try.Volumes = slices.Clone(try.Volumes)
	for i := range try.Volumes {
		try.Volumes[i].HostPath = "/"
	}
	_, err = spec.New(spec.Image{}, spec.Files{}, try)
	return err
}

func (p *prepared) openOutputs() (err error) {
	if p.options.dryRun || p.options.explain {
		return nil // nothing happens that could be told
	}
	if p.options.statusFile != "" {
		if p.status, err = newStatusFile(p.options.statusFile); err != nil {
			return err
		}
	}
	p.report, err = p.options.report.open()
	return err
}

// obtain gets the root's files: an image's from the cache, or a directory as it is.
func (p *prepared) obtain(ctx context.Context, name string) (err error) {
	if p.options.rootfs {
		return p.obtainDirectory(name)
	}
	begin := time.Now()
	f, err := p.options.fetch(ctx, name)
	if err != nil {
		return err
	}
	p.cache, p.result, p.pulled = f.cache, f.Result, time.Since(begin)
	p.status.fetched(p.result, p.pulled)
	p.treePath, p.layered = filepath.Join(p.result.Root.Path(), pull.RootFS), true
	p.tree, err = rootfs.Open(p.treePath)
	return err
}

func (p *prepared) obtainDirectory(name string) (err error) {
	if err := needRoot(); err != nil {
		return err
	}
	name, p.layered = strings.CutSuffix(name, ":O")
	if p.treePath, err = filepath.Abs(name); err != nil {
		return err
	}
	if p.tree, err = rootfs.Open(p.treePath); err != nil {
		return hinted(fmt.Errorf("--rootfs: %w", err), "with --rootfs, what stands for IMAGE is a directory")
	}
	p.cache, err = p.options.app.openCache()
	return err
}

func (p *prepared) close() {
	if p.result != nil {
		p.result.Root.Close()
	}
	p.tree.Close()
	p.cache.Close()
}

// imageName is what to call what is run.
func (p *prepared) imageName() string {
	if p.result == nil {
		return p.treePath
	}
	return p.result.Image.Reference.Familiar()
}

// stateDir is where the run's own files are, or would be.
func (p *prepared) stateDir() string {
	return filepath.Join(p.cache.Path(), "state", p.id)
}

// describe makes the spec from the image's config, its passwd and group files, and the flags.
func (p *prepared) describe(args []string) error {
	var config image.Config
	var err error
	if p.result != nil {
		if config, err = p.result.Image.RunConfig(); err != nil {
			return err
		}
	}
	p.asked.Args, p.asked.RootPath = args, filepath.Join(p.stateDir(), "root")
	if !p.layered {
		p.asked.RootPath = p.treePath
	}
	if err := p.locate(p.asked.Volumes); err != nil {
		return err
	}
	if p.files, err = p.identities(); err != nil {
		return err
	}
	p.asked.Mounts = p.ownFiles(netFileNames)
	zone, err := p.ownZone()
	if err != nil {
		return err
	}
	if p.spec, err = spec.New(specImage(config), p.files, p.asked); err != nil {
		return p.imageFault(err)
	}
	p.content = p.netContent()
	if zone != "" {
		p.content["localtime"] = zone
	}
	return p.addIdentity(config)
}

// ownZone reads the time zone's file of the host's; the container is shown a copy of its own.
func (p *prepared) ownZone() (string, error) {
	if p.asked.ZoneFile == "" {
		return "", nil
	}
	b, err := readSmall(p.asked.ZoneFile)
	if err != nil {
		return "", hinted(fmt.Errorf("--tz: %w", err), "zones are the files in the host's /usr/share/zoneinfo")
	}
	p.asked.ZoneFile = filepath.Join(p.stateDir(), "localtime")
	return string(b), nil
}

// imageFault explains what only the image could tell: the flags alone made sense.
func (p *prepared) imageFault(err error) error {
	return hinted(fmt.Errorf("%s: %w", p.imageName(), err), "what an image says can be overridden: --user, --entrypoint, --env, --workdir, and the command")
}

// addIdentity gives a user that the image does not know a line in its files, shown over them.
func (p *prepared) addIdentity(config image.Config) (err error) {
	with := p.files.WithUser(p.spec.Process.User)
	var changed []string
	if p.options.passwd && string(with.Passwd) != string(p.files.Passwd) {
		changed, p.content["passwd"] = append(changed, "passwd"), string(with.Passwd)
	}
	if p.options.passwd && string(with.Group) != string(p.files.Group) {
		changed, p.content["group"] = append(changed, "group"), string(with.Group)
	}
	if len(changed) > 0 {
		p.asked.Mounts = append(p.asked.Mounts, p.ownFiles(changed)...)
		p.spec, err = spec.New(specImage(config), p.files, p.asked)
	}
	return err
}

func specImage(c image.Config) spec.Image {
	return spec.Image{
		Env: c.Env, Entrypoint: c.Entrypoint, Cmd: c.Cmd, WorkingDir: c.WorkingDir,
		User: c.User, StopSignal: c.StopSignal,
	}
}

// identities reads the image's user and group files. An image may have none; one that has a
// fifo, a device or a gigabyte there (CVE-2024-9676, CVE-2026-47262) is treated as if it had
// none, so that only a name that would have to be looked up there is an error.
func (p *prepared) identities() (spec.Files, error) {
	const most = 1 << 20 // bytes
	var f spec.Files
	for _, x := range []struct {
		name string
		to   *[]byte
	}{{"etc/passwd", &f.Passwd}, {"etc/group", &f.Group}} {
		b, err := p.tree.ReadFile(x.name, most)
		if err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ENOTDIR) {
			p.options.app.say("warning", fmt.Sprintf("the image's /%s is not used: %v", x.name, err))
		}
		*x.to = b
	}
	return f, nil
}

// config is the run as package run takes it.
func (p *prepared) config() run.Config {
	c := run.Config{
		ID: p.id, Spec: p.spec, Beneath: p.beneath, Resolve: p.tree.Resolve, Mode: child.Mode(p.options.mode),
		Init: p.options.init, PreserveFds: p.options.preserve, Measure: p.options.report.wanted(),
	}
	if p.layered {
		c.Overlay = &run.Overlay{
			Base: p.cache.Path(), Lower: p.lower(),
			Upper: filepath.Join("state", p.id, "upper"), Work: filepath.Join("state", p.id, "work"),
		}
	}
	return c
}

// lower names the overlay's lower directory: relative to the cache for an image's, else in full
// with what has a meaning in the option escaped.
func (p *prepared) lower() string {
	if p.result != nil {
		return filepath.Join("roots", p.result.Root.ID(), pull.RootFS)
	}
	return strings.NewReplacer(`\`, `\\`, `:`, `\:`).Replace(p.treePath)
}

func (p *prepared) printSpec() error {
	e := json.NewEncoder(p.options.app.Out)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return output125(e.Encode(p.spec))
}

func (p *prepared) printList() error {
	list, err := run.Explain(p.config())
	if err != nil {
		return err
	}
	_, err = fmt.Fprint(p.options.app.Out, list)
	return output125(err)
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
		if errors.Is(err, unix.EEXIST) {
			return hinted(fmt.Errorf("a run with the name %s is under way", p.id), "choose another --name, or leave it out")
		}
		return err
	}
	err = p.supervise(ctx, st)
	if rmErr := st.Remove(); rmErr != nil {
		p.options.app.say("warning", "removing the run's files: "+rmErr.Error())
	}
	return err
}
