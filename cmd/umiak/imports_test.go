package main

import (
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/umiak/umiak/"

// Modules by the names that the map uses.
var modules = map[string]string{
	"x/sys":        "golang.org/x/sys",
	"x/term":       "golang.org/x/term",
	"ggcr":         "github.com/google/go-containerregistry",
	"cobra":        "github.com/spf13/cobra",
	"pflag":        "github.com/spf13/pflag",
	"progressbar":  "github.com/schollz/progressbar/v3",
	"compress":     "github.com/klauspost/compress",
	"runtime-spec": "github.com/opencontainers/runtime-spec",
	"sh":           "mvdan.cc/sh/v3",
}

// packageMap says what each package may import besides the standard library. Imports run one
// way: no package knows the stage after its own, and the two halves, image and run, meet only in
// cmd/cli. A new package, and a new import, is a line here with its reason in the commit.
var packageMap = map[string]string{
	"cache/digest":    "",
	"cache/flock":     "x/sys",
	"cache":           "cache/digest cache/flock x/sys",
	"unpack/rootfs":   "x/sys",
	"unpack":          "unpack/rootfs unpack/inflate compress", // inflate: gzip is most of what unpacking costs
	"unpack/manifest": "x/sys",
	"image":           "cache/digest ggcr",
	"image/registry":  "image cache/digest ggcr",
	"image/archive":   "image cache/digest",
	"image/pull":      "image cache cache/digest unpack unpack/manifest",
	"run/spec":        "runtime-spec",
	"run/child":       "runtime-spec x/sys",
	"run/cgroup":      "runtime-spec x/sys",
	"run/pty":         "x/sys x/term",
	"run/seccomp":     "runtime-spec x/sys",
	"unpack/inflate":  "",
	"run/state":       "x/sys",
	"run/volume":      "x/sys",
	"run":             "run/child run/cgroup run/pty run/seccomp runtime-spec x/sys",
	"cmd/term":        "image/pull progressbar x/term",
	"cmd/cli":         "cache cache/digest image image/archive image/pull image/registry unpack/manifest unpack/rootfs run run/child run/cgroup run/pty run/spec run/state run/seccomp run/volume cmd/term cobra pflag runtime-spec x/sys",
	"cmd/umiak":       "cmd/cli run/child",
	"cmd/box":         "sh x/sys x/term",
	"cmd/demo/sample": "ggcr compress",
	"cmd/demo":        "cmd/demo/sample ggcr x/sys x/term",
	"cmd/bench":       "cmd/demo/sample ggcr x/sys",
}

// imports parses the tree in-process: a test that asked the go command would be answered from the
// test cache, and never fail again.
func imports(t *testing.T) map[string][]string {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	found := map[string][]string{}
	err = filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata") && p != root {
			return fs.SkipDir
		}
		if !strings.HasSuffix(p, ".go") || strings.HasSuffix(p, "_test.go") {
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), p, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, filepath.Dir(p))
		if err != nil {
			return err
		}
		dir := filepath.ToSlash(rel)
		found[dir] = append(found[dir], "") // it is there, whatever it imports
		for _, i := range f.Imports {
			name, err := strconv.Unquote(i.Path.Value)
			if err != nil {
				return err
			}
			found[dir] = append(found[dir], name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// allowed says whether a package's line of the map has an import.
func allowed(line, imported string) bool {
	first, _, _ := strings.Cut(imported, "/")
	if imported == "" || !strings.Contains(first, ".") {
		return imported != "C"
	}
	for _, name := range strings.Fields(line) {
		if imported == module+name {
			return true
		}
		if m, ok := modules[name]; ok && (imported == m || strings.HasPrefix(imported, m+"/")) {
			return true
		}
	}
	return false
}

func TestPackageMap(t *testing.T) {
	found := imports(t)
	for _, dir := range slices.Sorted(maps.Keys(found)) {
		line, mapped := packageMap[dir]
		if !mapped {
			t.Errorf("%s is not in the map", dir)
			continue
		}
		for _, imported := range slices.Compact(slices.Sorted(slices.Values(found[dir]))) {
			if !allowed(line, imported) {
				t.Errorf("%s may not import %s", dir, imported)
			}
		}
	}
	for dir := range packageMap {
		if _, there := found[dir]; !there {
			t.Errorf("the map has %s, the tree has not", dir)
		}
	}
}

// The top level holds what the README says it holds.
func TestTopLevel(t *testing.T) {
	names, err := filepath.Glob("../../*")
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"LICENSE", "Makefile", "README.md", "cache", "cmd", "go.mod", "go.sum", "image", "run", "unpack"}
	for _, n := range names {
		if base := path.Base(n); !slices.Contains(want, base) && base != "bin" && !strings.HasPrefix(base, ".") {
			t.Errorf("%s is at the top level", base)
		}
	}
}

// Mechanism packages do not print, read the environment or exit, and have no init: what they do
// depends on their arguments alone.
func TestMechanismIsQuiet(t *testing.T) {
	for dir := range packageMap {
		if strings.HasPrefix(dir, "cmd/") {
			continue
		}
		files, err := filepath.Glob("../../" + dir + "/*.go")
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			if !strings.HasSuffix(file, "_test.go") {
				quiet(t, file)
			}
		}
	}
}
