package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/pflag"

	"github.com/umiak/umiak/cache"
	"github.com/umiak/umiak/cmd/term"
	"github.com/umiak/umiak/image"
	"github.com/umiak/umiak/image/pull"
	"github.com/umiak/umiak/image/registry"
)

// fetchOptions are the flags that say which image is meant and from where it may come.
type fetchOptions struct {
	app      *App
	platform platformFlag
	policy   string
	offline  bool
	quiet    bool
}

func (o *fetchOptions) addFlags(f *pflag.FlagSet) {
	o.addPlatform(f)
	f.StringVar(&o.policy, "pull", "missing", "`WHEN` to ask the registry: missing, always or never")
	f.BoolVar(&o.offline, "offline", false, "open no socket: what is not in the cache is an error")
	f.BoolVarP(&o.quiet, "quiet", "q", false, "show no progress")
}

func (o *fetchOptions) addPlatform(f *pflag.FlagSet) {
	f.Var(&o.platform, "platform", "`OS/ARCH[/VARIANT]` of the image (DOCKER_DEFAULT_PLATFORM; default: this machine's)")
}

// check refuses what makes no sense together.
func (o *fetchOptions) check() error {
	switch {
	case o.policy != "missing" && o.policy != "always" && o.policy != "never":
		return hinted(fmt.Errorf("--pull %q: unknown", o.policy), "it is missing, always or never")
	case o.offline && o.policy == "always":
		return errors.New("--offline and --pull=always exclude each other")
	}
	return nil
}

// wanted is the platform asked for: by flag, by docker's variable, or this machine's.
func (o *fetchOptions) wanted() (image.Platform, error) {
	if o.platform.text != "" {
		return o.platform.value, nil
	}
	if s := o.app.Getenv("DOCKER_DEFAULT_PLATFORM"); s != "" {
		p, err := image.ParsePlatform(s)
		if err != nil {
			return p, fmt.Errorf("DOCKER_DEFAULT_PLATFORM: %w", err)
		}
		return p, nil
	}
	return hostPlatform(), nil
}

func hostPlatform() image.Platform { return image.HostPlatform() }

// fetch gives the image with its root leased, pulling what the cache lacks.
func (o *fetchOptions) fetch(ctx context.Context, name string) (*fetched, error) {
	ref, err := image.Parse(name)
	if err != nil {
		return nil, hinted(err, "an image is [registry/]name[:tag][@digest], in lower case")
	}
	platform, err := o.wanted()
	if err != nil {
		return nil, err
	}
	if err := needRoot(); err != nil {
		return nil, err
	}
	c, err := o.open()
	if errors.Is(err, cache.ErrMissing) {
		return nil, fmt.Errorf("image %s for %s is %w", ref.Familiar(), platform, pull.ErrNotCached)
	}
	if err != nil {
		return nil, err
	}
	po := pull.Options{Cache: c, Platform: platform, Always: o.policy == "always", Never: o.policy == "never", Meter: &pull.Meter{}}
	if !o.offline && !po.Never {
		po.Source = o.app.registry()
	}
	stop := o.app.showProgress(po.Meter, ref.Familiar(), o.quiet)
	r, err := pull.Pull(ctx, ref, po)
	stop()
	if err != nil {
		c.Close()
		return nil, err
	}
	return &fetched{Result: r, cache: c}, nil
}

// open opens the cache, and makes one only if something may come into it.
func (o *fetchOptions) open() (*cache.Cache, error) {
	if o.offline || o.policy == "never" {
		return o.app.existingCache()
	}
	return o.app.openCache()
}

func needRoot() error {
	if os.Geteuid() == 0 {
		return nil
	}
	return hinted(errors.New("umiak needs root for now: to give an image's files their owners, and a container its namespaces"), "sudo umiak …")
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

func (a *App) openCache() (*cache.Cache, error) {
	dir, err := a.cacheDir()
	if err != nil {
		return nil, err
	}
	return cache.Open(dir)
}

// existingCache opens the cache if there is one, and makes nothing.
func (a *App) existingCache() (*cache.Cache, error) {
	dir, err := a.cacheDir()
	if err != nil {
		return nil, err
	}
	return cache.OpenExisting(dir)
}

// registry speaks to registries with docker's credentials.
func (a *App) registry() *registry.Registry {
	warn := func(s string) { a.say("warning", s) }
	return registry.New(registry.Options{Keychain: registry.Keychain(a.dockerConfig(), warn), Warn: warn, UserAgent: "umiak/" + version()})
}

func (a *App) dockerConfig() string {
	if dir := a.Getenv("DOCKER_CONFIG"); dir != "" {
		return dir
	}
	if home := a.Getenv("HOME"); home != "" {
		return filepath.Join(home, ".docker")
	}
	return ""
}

// showProgress draws a pull on standard error until the returned function is called.
func (a *App) showProgress(m *pull.Meter, name string, quiet bool) (stop func()) {
	if quiet {
		return func() {}
	}
	return term.Show(a.Err, m, name)
}

// platformFlag is a platform, parsed as it is read.
type platformFlag struct {
	value image.Platform
	text  string
}

func (p *platformFlag) Set(s string) (err error) {
	p.value, err = image.ParsePlatform(s)
	p.text = s
	return err
}
func (p *platformFlag) String() string { return p.text }
func (p *platformFlag) Type() string   { return "platform" }
