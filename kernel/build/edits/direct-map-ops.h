/* SPDX-License-Identifier: GPL-2.0 */
#ifndef __UM_ASM_DIRECT_MAP_H
#define __UM_ASM_DIRECT_MAP_H

#include <linux/types.h>

struct file;
struct vm_operations_struct;

/* Areas with these operations may be mapped from the host's file. */
extern const struct vm_operations_struct direct_map_ops;

/* The descriptor of the host's file, in this kernel's process. */
extern int (*direct_map_fd)(struct file *file);

/* Reads from the host's file. Returns how many bytes it has got, or a negative error number. */
extern int (*direct_map_read)(struct file *file, loff_t pos, char *buf, int len);

#define fault_around_hosts(vma) ((vma)->vm_ops == &direct_map_ops)

#endif
