// Hands bytes that were made on the page to the browser as a file.

export function save(name: string, type: string, content: BlobPart): void {
  const url = URL.createObjectURL(new Blob([content], { type }));
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

export async function gzip(bytes: ArrayBuffer): Promise<ArrayBuffer> {
  return new Response(new Blob([bytes]).stream().pipeThrough(new CompressionStream("gzip"))).arrayBuffer();
}

/** `checkout-cpu-20261123T140000`: service, type and end of the range, fit for any file system. */
export function fileName(service: string, type: string, untilMs: number): string {
  const [, sample = "profile"] = type.split(":");
  const at = new Date(untilMs).toISOString().slice(0, 19).replace(/[-:]/g, "");
  return `${service || "all"}-${sample}-${at}`.replace(/[^\w.-]+/g, "_");
}
