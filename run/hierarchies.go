package run

import (
	"os"
	"strings"

	"github.com/umiak/umiak/run/child"
)

// hierarchies lists the cgroup v1 hierarchies that this process is in; none on a machine that has
// cgroup v2 only. A hybrid machine's v2 tree has no limits to show and is left out.
func hierarchies() []child.Hierarchy {
	b, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return nil
	}
	return parseHierarchies(string(b))
}

// parseHierarchies reads /proc/pid/cgroup, cgroups(7): id:controllers:path lines.
func parseHierarchies(s string) []child.Hierarchy {
	var hs []child.Hierarchy
	for line := range strings.Lines(s) {
		f := strings.SplitN(line, ":", 3)
		if len(f) != 3 || f[1] == "" {
			continue
		}
		h := child.Hierarchy{Name: f[1], Options: strings.Split(f[1], ",")}
		if name, named := strings.CutPrefix(f[1], "name="); named {
			h = child.Hierarchy{Name: name, Options: []string{"none", f[1]}}
		}
		hs = append(hs, h)
	}
	return hs
}
