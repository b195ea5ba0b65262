// SPDX-License-Identifier: GPL-2.0
/* Memory of the process that is pinned and mapped in the kernel */
#include <ukl/kernel.h>

UKL_EXPORT(struct ukl_buffer *pin, (void __user *data, unsigned long size, bool writable))
{
	return ukl_pin(data, size, writable);
}

UKL_EXPORT(void unpin, (struct ukl_buffer *buffer))
{
	ukl_unpin(buffer);
}

/* Add one to each byte, without copy_to_user(); return their sum from before. */
UKL_EXPORT(unsigned long increment, (struct ukl_buffer *buffer))
{
	unsigned char *byte = buffer->data, *end = byte + buffer->size;
	unsigned long sum = 0;

	for (; byte < end; byte++)
		sum += (*byte)++;
	return sum;
}

UKL_EXPORT(unsigned long add, (struct ukl_buffer *buffer))
{
	const unsigned char *byte = buffer->data, *end = byte + buffer->size;
	unsigned long sum = 0;

	while (byte < end)
		sum += *byte++;
	return sum;
}
