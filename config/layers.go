package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/hashicorp/hcl/v2"
)

// A rootLayer is where the file says that a root's upper layer is kept.
type rootLayer struct {
	in  *instance
	dir string
	rng hcl.Range
}

// persist reads where the upper layer of a root is kept.
func (d *decoder) persist(mode string) string {
	v := d.get("persist")
	if v == nil {
		return ""
	}
	dir := d.hostPath(v)
	if dir == "" {
		return ""
	}
	if mode == "ro" {
		d.error(v, "Nothing to keep", `Nothing is written to a read-only root. Remove this, or use mode = "overlay".`)
		return ""
	}
	if err := CheckLayer(dir); err != nil {
		d.error(v, "Folder not usable", fmt.Sprintf("%s: %s. Name a folder; it is made if it isn't there.", dir, err))
		return ""
	}
	d.l.layers = append(d.l.layers, rootLayer{d.in, dir, v.attr.Expr.Range()})
	return dir
}

// CheckLayer says why a path can't be the folder of a root's upper layer; nil: it is one, or can be made.
func CheckLayer(dir string) error {
	st, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		var pe *fs.PathError
		if errors.As(err, &pe) {
			return pe.Err
		}
		return err
	case !st.IsDir():
		return errors.New("it is not a folder")
	}
	return nil
}

// checkLayers reports roots that are kept in one folder although they may run at once. Of each folder, one is enough.
func (l *loader) checkLayers(subs []Subkernel) {
	if len(l.layers) < 2 {
		return
	}
	index := make(map[string]int, len(subs))
	for i := range subs {
		index[subs[i].Name] = i
	}
	var dirs []string
	users := map[string][]rootLayer{}
	for _, u := range l.layers {
		if users[u.dir] == nil {
			dirs = append(dirs, u.dir)
		}
		users[u.dir] = append(users[u.dir], u)
	}
	for _, dir := range dirs {
		if a, b, ok := simultaneous(subs, index, users[dir]); ok {
			l.diags.errorAt(b.rng, "Folder of another root", fmt.Sprintf("The root of %s is kept in %s, too, and the two may run at once. %s", a.in.name, dir, layerAdvice(a.in, b.in)))
		}
	}
}

// simultaneous returns the first two of the users of a folder of which neither is over before the other begins.
func simultaneous(subs []Subkernel, index map[string]int, users []rootLayer) (a, b rootLayer, ok bool) {
	over := make([]map[int]bool, 0, len(users)) // by user
	for j, u := range users {
		over = append(over, overBefore(subs, index, index[u.in.name]))
		for i := range j {
			if !over[j][index[users[i].in.name]] && !over[i][index[u.in.name]] {
				return users[i], u, true
			}
		}
	}
	return a, b, false
}

// overBefore returns the sub-kernels that have ended when one begins: those whose end it, or something that it has to wait for in any way, waits for.
func overBefore(subs []Subkernel, index map[string]int, of int) map[int]bool {
	over, seen, todo := map[int]bool{}, map[int]bool{of: true}, []int{of}
	for len(todo) > 0 {
		i := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		for _, dep := range subs[i].DependsOn {
			j := index[dep.Name]
			if dep.Condition == condCompleted {
				over[j] = true
			}
			if !seen[j] {
				seen[j] = true
				todo = append(todo, j)
			}
		}
	}
	return over
}

// layerAdvice says what to do about two roots in one folder.
func layerAdvice(a, b *instance) string {
	if a.owner == b.owner {
		switch b.kind {
		case "matrix":
			return fmt.Sprintf(`Name one for each instance, such as "./roots/${matrix.%s}".`, b.matrix[0].key)
		case "for_each":
			return `Name one for each instance, such as "./roots/${each.key}".`
		case "count":
			return `Name one for each instance, such as "./roots/${count.index}".`
		}
	}
	return "Name another folder, or let one of them depend on the end of the other."
}
