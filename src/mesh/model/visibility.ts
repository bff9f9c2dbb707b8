// Who may see a rule or a service: exportTo. Pure (istio.io/api, "exportTo").

/** Whether what a namespace exports to some is seen from another. An empty list is everywhere. */
export function isExported(exportTo: readonly string[] | undefined, owner: string, viewer: string): boolean {
  if (!exportTo?.length) return true
  return exportTo.some((to) => to === '*' || to === viewer || (to === '.' && owner === viewer))
}
